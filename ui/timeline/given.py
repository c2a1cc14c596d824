"""What the model was given for a segment: the exact prompt, its tokens, the frames with their times, the model and the settings."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.timeline.records import Answer, Segment, Timeline
from smolvlm_core.times import time_text
from ui.state import session, workspace
from ui.text import escape, show_error
from ui.timeline import rows

UNSET = (None, "")


def draw_if_asked(timeline: Timeline) -> None:
    """Opens it, once, for the segment that was asked about."""
    page = session().timeline
    wanted, page.given = page.given, None
    if wanted is None:
        return
    segment = next((s for s in workspace().timelines.segments(timeline.identity) if s.identity == wanted), None)
    if segment is not None:
        _dialog(timeline, segment)


@st.dialog("What the model was given", width="large")
def _dialog(timeline: Timeline, segment: Segment) -> None:
    times = ", ".join(f"{time_text(f.timestamp_seconds, 2)} (#{f.frame_index})" for f in segment.frames)
    st.markdown(f"**{escape(timeline.title)}**, {rows.range_text(segment)}")
    count = "1 frame" if len(segment.frames) == 1 else f"{len(segment.frames)} frames, in this order"
    st.caption(f"{count}: {times or 'none'}.")
    for number, answer in sorted(segment.answers.items()):
        st.markdown(f"**{escape(timeline.columns.get(number, 'A question that was removed'))}**")
        _draw_answer(answer)
    st.caption(f"Settings: {escape(_settings(timeline.request.settings))}.")


def _draw_answer(answer: Answer) -> None:
    if answer.error:
        show_error(answer.error)
    if answer.prompt:
        st.code(answer.prompt, language=None, wrap_lines=True)
    lines = [
        *([answer.stats.summary()] if answer.stats is not None else []),
        *([f"{answer.model}. Weights: {answer.weights or 'not recorded'}."] if answer.model else []),
    ]
    st.caption("  \n".join(escape(line) for line in lines))


def _settings(settings: GenerationSettings) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(settings).items() if value not in UNSET)

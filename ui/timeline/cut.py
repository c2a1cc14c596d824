"""Cut a clip: segments that were chosen or found, or times that were typed, as a new file."""

from __future__ import annotations

import re
import threading
from functools import partial
from pathlib import Path

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline.export import stem_of
from smolvlm_core.timeline.export.content import one_line
from smolvlm_core.timeline.records import Segment, Timeline, leaves
from smolvlm_core.times import Range, parse_range, time_text
from smolvlm_core.video.cut import cut_clip, suffix_of
from smolvlm_core.work.report import Report
from ui import forms
from ui.state import workspace
from ui.timeline import downloads

FORM = "timeline cut"
SEGMENTS, TIMES = "Segments", "Times"
LABEL_CHARACTERS = 48


def draw(timeline: Timeline) -> None:
    if timeline.kind == "clip":
        downloads.following(_draw, timeline.identity, _owner(timeline.identity))


def _owner(identity: str) -> str:
    return f"{identity}-cut"


def _draw(identity: str) -> None:
    with st.expander("Cut the clip", icon=":material/content_cut:", key="timeline_cut", on_change="rerun") as menu:
        timeline = workspace().timelines.find(identity)
        if not menu.open or timeline is None:
            return
        clip = workspace().timelines.path_of(timeline)
        if clip is None:
            st.caption("The file of this clip is gone. Add the same clip again to cut it.")
            return
        _draw_form(timeline, clip)
        forms.draw_problems(FORM)
        downloads.draw(_owner(identity))


def _draw_form(timeline: Timeline, clip: Path) -> None:
    by = st.segmented_control(
        "Moments",
        [SEGMENTS, TIMES],
        default=SEGMENTS,
        required=True,
        key="timeline_cut_by",
        persist_state="session",
    )
    if by == SEGMENTS:
        _draw_segments(timeline)
    else:
        st.text_input(
            "Times",
            placeholder="0:12-0:20, 1:05-1:10",
            key=_key("times", timeline),
            persist_state="session",
        )
    exact = st.checkbox(
        "Cut exactly (re-encodes)",
        key="timeline_cut_exact",
        persist_state="session",
        help="Without it, frames and sound are copied as they are, which is fast and loses nothing. Each part then begins at the "
        "keyframe before it: you are told how much earlier that is.",
    )
    if not downloads.is_running(_owner(timeline.identity)):
        st.button(
            "Cut",
            icon=":material/content_cut:",
            key="timeline_cut_start",
            on_click=partial(_cut, timeline, clip, str(by), bool(exact)),
        )


def _draw_segments(timeline: Timeline) -> None:
    found = leaves(workspace().timelines.segments(timeline.identity))
    labels = {segment.identity: _label(segment) for segment in found}
    st.text_input(
        "Add segments that contain",
        placeholder="red ball",
        key=_key("find", timeline),
        on_change=_find,
        args=(timeline,),
    )
    st.multiselect(
        "Segments",
        list(labels),
        format_func=lambda identity: labels.get(identity, "A segment that is gone"),
        key=_key("segments", timeline),
        placeholder="Choose segments",
        persist_state="session",
    )


def _key(field: str, timeline: Timeline) -> str:
    return f"timeline_cut_{field}_{timeline.identity}"


def _label(segment: Segment) -> str:
    caption = one_line(segment.caption)
    caption = caption if len(caption) <= LABEL_CHARACTERS else f"{caption[: LABEL_CHARACTERS - 1]}…"
    return f"{time_text(segment.start_seconds)}–{time_text(segment.end_seconds)} {caption}".rstrip()


def _find(timeline: Timeline) -> None:
    """Adds the segments that have all the words."""
    forms.pressed(FORM)
    timelines = workspace().timelines
    words, chosen = str(st.session_state[_key("find", timeline)]), _key("segments", timeline)
    if not words.strip():
        return
    try:
        hits = {hit.segment for hit in timelines.search(words, timeline.identity)}
    except LensError as error:
        forms.refuse(FORM, error)
        return
    shown = [segment.identity for segment in leaves(timelines.segments(timeline.identity))]
    found = [identity for identity in shown if identity in hits]
    if not found:
        forms.refuse(FORM, f"No segment has “{words[:80]}”.")
    kept = set(st.session_state.get(chosen, ())) | set(found)
    st.session_state[chosen] = [identity for identity in shown if identity in kept]


def _cut(timeline: Timeline, clip: Path, by: str, exact: bool) -> None:
    forms.pressed(FORM)
    try:
        ranges = _ranges(timeline, by)
        name = f"{stem_of(timeline)} cut{suffix_of(clip, exact=exact)}"
        path = downloads.place(_owner(timeline.identity), name, clip.stat().st_size)
    except (LensError, OSError) as error:
        forms.refuse(FORM, str(error))
        return

    def work(report: Report, cancel: threading.Event) -> downloads.Made:
        done = cut_clip(clip, ranges, path, exact=exact, report=report, cancel=cancel)
        length = f"{len(done.parts)} {'part' if len(done.parts) == 1 else 'parts'}, {time_text(done.duration_seconds)} in all"
        return downloads.Made(path, (*done.describe(), length))

    downloads.start(_owner(timeline.identity), work)


def _ranges(timeline: Timeline, by: str) -> list[Range]:
    """Raises LensError where there are none, or one is no range."""
    if by == TIMES:
        texts = re.split(r"[,;\n]+", str(st.session_state.get(_key("times", timeline), "")))
        ranges = [parse_range(text) for text in texts if text.strip()]
    else:
        chosen = set(st.session_state.get(_key("segments", timeline), ()))
        found = workspace().timelines.segments(timeline.identity)
        ranges = [segment.range_seconds for segment in found if segment.identity in chosen]
    if not ranges:
        raise LensError("Nothing is chosen.", "Choose segments, or write times such as 0:12-0:20.")
    return ranges

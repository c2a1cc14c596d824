"""Two timelines of one clip side by side: which one to compare with, or a new one by another backend; disagreements first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.backends.base import Entry
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.differences import MEASURE, Differences, Row, compare
from smolvlm_core.timeline.differences_report import as_markdown, as_object, degree, span_text
from smolvlm_core.timeline.records import CAPTION, Timeline, leaves
from smolvlm_core.times import time_text
from ui.state import session, workspace
from ui.text import escape, message, show_error
from ui.timeline import picker, route
from ui.timeline.session import NEW

POLL_SECONDS = 1.0
FEW = 50  # rows that are shown at first
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"differences.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("timeline_differences", html=_html, css=_css, js=_js)


def draw(timeline: Timeline) -> None:
    panel = st.expander(
        "Compare with another timeline",
        icon=":material/compare_arrows:",
        key=f"timeline_compare_{timeline.identity}",
        on_change="rerun",
    )
    if panel.open:
        polled = _other_is_running(timeline)
        with panel:
            st.fragment(_follow, run_every=POLL_SECONDS if polled else None)(timeline.identity, polled)


def _other_is_running(timeline: Timeline) -> bool:
    run = workspace().timelines.running
    return (
        run is not None
        and run.timeline.identity != timeline.identity
        and run.timeline.clip.sha256 == timeline.clip.sha256
    )


def _follow(identity: str, polled: bool) -> None:
    timeline = workspace().timelines.find(identity)
    if timeline is None:
        return
    if _other_is_running(timeline) != polled:
        st.rerun()  # begins or ends the polling
    other = _draw_choice(timeline)
    if session().timeline.compare_problem:
        show_error(session().timeline.compare_problem)
        session().timeline.compare_problem = ""
    if other is not None:
        segments = workspace().timelines.segments
        found = compare(timeline, leaves(segments(timeline.identity)), other, leaves(segments(other.identity)))
        _draw_figures(found)
        _draw_rows(found)
        _draw_reports(found)


def _draw_choice(timeline: Timeline) -> Timeline | None:
    """The timeline to compare with; None where there is none."""
    others = [t for t in workspace().timelines.of_clip(timeline.clip.sha256) if t.identity != timeline.identity]
    others.sort(key=lambda t: timeline.identity not in (t.request.segments_of,))  # those of the same segments first
    known = {other.identity: other for other in others}
    choices = [*known, *([NEW] if timeline.kind == "clip" else [])]
    if not choices:
        st.caption("There is no other timeline of this session.")
        return None
    chosen = st.selectbox(
        "Compare with",
        choices,
        key=f"compare_with_{timeline.identity}",
        format_func=lambda identity: picker.label(known[identity]) if identity in known else "Another backend…",
    )
    if chosen not in known:
        _draw_form(timeline)
        return None
    _draw_run(known[chosen])
    return known[chosen]


def _draw_run(other: Timeline) -> None:
    """How far the other timeline is, while it is being made, and why it ended early."""
    run = workspace().timelines.run_of(other)
    if run is not None and run.is_running:
        st.progress(run.job.fraction or 0.0, text=message(run.describe()))
        st.button("Stop", icon=":material/stop:", key="compare_stop", on_click=run.stop)
        return
    if run is not None and run.problem is not None:
        show_error(run.problem)
    if other.kind == "clip" and not workspace().timelines.is_complete(other):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Go on", icon=":material/play_arrow:", key="compare_go_on", on_click=_go_on, args=(other,))
            st.caption("The other timeline is not complete.")


def _go_on(other: Timeline) -> None:
    try:
        workspace().timelines.go_on(other)
    except LensError as error:
        session().timeline.compare_problem = str(error)


def _draw_form(timeline: Timeline) -> None:
    """Another backend is asked the same about the same segments."""
    entries = {
        e.key: e for e in workspace().registry.entries() if e.key != timeline.request.entry and e.is_on_this_machine
    }
    if not entries:
        st.info("There is no other backend yet. Add one on the Backends page.")
        return
    key = st.selectbox("Backend", list(entries), key="compare_backend", format_func=lambda k: entries[k].label)
    count = len(leaves(workspace().timelines.segments(timeline.identity)))
    questions = len(timeline.columns)
    what = "question" if questions == 1 else f"{questions} questions"
    st.caption(f"It is shown the same {count:,} segments and asked the same {what}.")
    running = workspace().timelines.running
    st.button(
        "Run with this backend",
        type="primary",
        icon=":material/play_arrow:",
        key="compare_start",
        disabled=running is not None or count == 0,
        on_click=_start,
        args=(timeline, entries[key]),
    )
    if running is not None:
        st.caption(":material/hourglass_top: Another timeline is being made. Stop it first, or wait.")


def _start(timeline: Timeline, entry: Entry) -> None:
    columns = tuple(question for number, question in sorted(timeline.columns.items()) if number != CAPTION)
    precision = session().precision if entry.precisions else ""
    request = replace(
        timeline.request, entry=entry.key, precision=precision, columns=columns, segments_of=timeline.identity
    )
    try:
        made = workspace().timelines.begin(timeline.clip, request)
    except LensError as error:
        session().timeline.compare_problem = str(error)
        return
    st.session_state[f"compare_with_{timeline.identity}"] = made.identity


def _draw_figures(found: Differences) -> None:
    st.markdown(f"**{escape(found.describe())}**")
    for letter, timeline in zip("AB", found.timelines):
        st.caption(f"**{letter}**: {escape(timeline.model)}, asked “{escape(timeline.request.prompt)}”")
    lines = ["| Question | Same | Different | Not answered by both |", "|---|---|---|---|"]
    lines += [f"| {escape(t.question)} | {t.same:,} | {t.different:,} | {t.unanswered:,} |" for t in found.tallies]
    st.markdown("\n".join(lines))
    notes = [f"Texts are compared by {MEASURE}; yes and no by their meaning."]
    notes += [f"{_count(len(only))} only in {letter}." for letter, only in zip("AB", found.only) if only]
    notes += [f"Only {letter} was asked: {' '.join(asked)}" for letter, asked in zip("AB", found.questions) if asked]
    st.caption(" ".join(map(message, notes)))


def _count(segments: int) -> str:
    return "1 segment is" if segments == 1 else f"{segments:,} segments are"


def _draw_rows(found: Differences) -> None:
    first, second = found.timelines
    key = f"compare_all_{first.identity}_{second.identity}"
    shown = found.rows if st.session_state.get(key) else found.rows[:FEW]
    data = {"rows": [_row(row) for row in shown], "frames": route.BASE}
    _component(key=f"differences_{first.identity}_{second.identity}", data=data)
    if len(shown) < len(found.rows):
        left = len(found.rows) - len(shown)
        st.button(f"Show {left:,} more", key="compare_more", type="tertiary", on_click=_show_all, args=(key,))


def _show_all(key: str) -> None:
    st.session_state[key] = True


def _row(row: Row) -> dict[str, Any]:
    shown = row.segments[0] if row.segments[0].frames else row.segments[1]
    return {
        "start": row.range_seconds[0],
        "label": span_text(row).replace("–", " – "),
        "degree": degree(row),
        "differs": row.disagreement > 0,
        "segment": shown.identity,
        "frames": [[time_text(ref.timestamp_seconds, 2), ref.sha256[:16]] for ref in shown.frames],
        "answers": [
            {
                "question": compared.question if number else "",
                "texts": list(compared.texts),
                "edited": list(compared.edited),
                "same": compared.verdict == "same",
            }
            for number, compared in enumerate(row.compared)
        ],
    }


def _draw_reports(found: Differences) -> None:
    name = f"{Path(found.timelines[0].title).stem}-compared"
    files: Sequence[tuple[str, Any, str, str]] = (
        ("Markdown", lambda: as_markdown(found), f"{name}.md", "text/markdown"),
        (
            "JSON",
            lambda: json.dumps(as_object(found), indent=1, ensure_ascii=False),
            f"{name}.json",
            "application/json",
        ),
    )
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for label, data, file, mime in files:
            st.download_button(
                f"Report as {label}",
                data,
                file,
                mime,
                key=f"compare_{label}",
                icon=":material/download:",
                on_click="ignore",
            )

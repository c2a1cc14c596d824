"""The list of segments: one component that draws its rows itself, so that hundreds of them stay quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import Segment, Timeline
from ui.live import entries
from ui.pictures import script
from ui.state import session, workspace
from ui.text import show_error
from ui.timeline import route, rows

ROWS_PER_PAGE = 300
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"list.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("timeline_list", html=_html, css=_css, js=_js)


def draw(timeline: Timeline, segments: Sequence[Segment], *, running: bool) -> None:
    page, ordered = session().timeline, rows.in_order(segments)
    if page.problem:
        show_error(page.problem)
        page.problem = ""
    place, reveal = st.container(), page.due(timeline.clip.sha256)[1]
    shown = _of_page(timeline, ordered, reveal)
    (width, height), key = _size(timeline, ordered), f"timeline_list_{timeline.identity}"
    with place:
        _component(
            key=key,
            data={
                "rows": rows.of_segments(shown, segments),
                "columns": [{"number": n, "question": q} for n, q in sorted(timeline.columns.items())],
                "frames": route.BASE,
                "viewer": script.url(),
                "name": timeline.clip.name,
                "width": width,
                "height": height,
                "player": timeline.kind == "clip",
                "running": running,
                "reveal": {"segment": reveal[0], "number": reveal[1]},
            },
            on_act_change=lambda: _act(timeline, st.session_state[key]["act"]),
        )


def _size(timeline: Timeline, segments: Sequence[Segment]) -> tuple[int, int]:
    """(width, height) of the frames, in pixels. Those of a live session all come from one source."""
    facts = timeline.clip.facts
    if facts is not None:
        return facts.width, facts.height
    first = next((segment for segment in segments if segment.frames), None)
    return entries.size_of(first.identity) if timeline.kind == "live" and first is not None else (640, 480)


def _of_page(timeline: Timeline, ordered: Sequence[Segment], reveal: tuple[int, int]) -> Sequence[Segment]:
    """The rows of one page, which is the one with the segment that has to be shown."""
    pages = -(-len(ordered) // ROWS_PER_PAGE)
    if pages <= 1:
        return ordered
    key = f"timeline_page_{timeline.identity}_{pages}"
    revealed = st.session_state.setdefault(f"{key}_revealed", 0)
    if reveal[1] and reveal[1] != revealed:
        st.session_state[f"{key}_revealed"] = reveal[1]
        found = next((n for n, segment in enumerate(ordered) if segment.identity == reveal[0]), 0)
        st.session_state[key] = 1 + found // ROWS_PER_PAGE
    number = min(st.pagination(pages, key=key), pages)
    return ordered[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]


def _act(timeline: Timeline, act: Any) -> None:
    """What was done in the list. `act`: from the browser."""
    page, timelines = session().timeline, workspace().timelines
    does, segment, column = act["do"], int(act["segment"]), int(act.get("column", 0))
    try:
        if does == "edit":
            timelines.edit(segment, column, str(act["text"]))
            page.changed = True
        elif does == "restore":
            timelines.edit(segment, column, None)
            page.changed = True
        elif does == "note":
            timelines.set_note(segment, str(act["text"]))
        elif does == "again":
            timelines.go_on(timeline)
        elif does == "given":
            page.given = segment
    except LensError as error:
        page.problem = str(error)

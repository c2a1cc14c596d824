"""Search over the timelines of all clips. A hit opens its clip at that moment."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import MARK, Hit, Segment, Timeline
from smolvlm_core.timeline.words import MOST_HITS
from ui.state import session, workspace
from ui.text import escape, show_error
from ui.timeline import picker, rows
from ui.timeline.session import LISTED

SHOWN = 20
KEY = "timeline_search"


def draw() -> None:
    if not workspace().timelines.all():
        return
    text = st.text_input(
        "Search the timelines of all clips",
        key=KEY,
        placeholder="Search the timelines of all clips",
        label_visibility="collapsed",
        icon=":material/search:",
    )
    if text.strip():
        _draw_hits(text)


def _draw_hits(text: str) -> None:
    timelines = workspace().timelines
    try:
        hits = timelines.search(text)
    except LensError as error:
        show_error(error)
        return
    if not hits:
        st.caption("Nothing found. Captions, answers, your edits and notes are searched.")
        return
    if len(hits) >= MOST_HITS:
        st.caption(f"The best {MOST_HITS} are shown.")
    most = st.session_state.get(f"{KEY}_most_{text}", SHOWN)
    known: dict[str, tuple[Timeline | None, dict[int, Segment], bool]] = {}
    with st.container(border=True, gap="xsmall", key="timeline_hits"):
        for number, hit in enumerate(hits[:most]):
            if hit.timeline not in known:
                found = timelines.find(hit.timeline)
                is_there = found is not None and timelines.path_of(found) is not None
                known[hit.timeline] = found, {s.identity: s for s in timelines.segments(hit.timeline)}, is_there
            timeline, of_timeline, is_there = known[hit.timeline]
            if timeline is not None and hit.segment in of_timeline:
                _draw_hit(number, hit, timeline, of_timeline[hit.segment], is_there)
        if len(hits) > most:
            st.button(
                f"Show more ({len(hits) - most:,})",
                key=f"{KEY}_more",
                type="tertiary",
                on_click=_more,
                args=(text, most),
            )


def _draw_hit(number: int, hit: Hit, timeline: Timeline, segment: Segment, is_there: bool) -> None:
    where = "note" if hit.column is None else timeline.columns.get(hit.column, "") if hit.column else ""
    parts = [f"**{escape(timeline.title)}**", rows.range_text(segment), *([escape(where)] if where else [])]
    gone = " :small[(the clip's file is gone)]" if timeline.kind == "clip" and not is_there else ""
    if timeline.kind == "live":
        parts.insert(1, "live session")
    st.button(
        f"{' · '.join(parts)}{gone}: {marked(hit.excerpt)}",
        key=f"timeline_hit_{number}",
        type="tertiary",
        width="stretch",
        wrap=True,
        on_click=picker.open_timeline,
        args=(timeline, segment.start_seconds, segment.identity),
    )


def marked(excerpt: str) -> str:
    """What matches is bold. The rest is shown as it is."""
    before, *parts = excerpt.split(MARK[0])
    shown = [_plain(before)]
    for part in parts:
        match, _, after = part.partition(MARK[1])
        shown += [f"**{escape(match)}**" if match.strip() else _plain(match), _plain(after)]
    return "".join(shown)


def _plain(text: str) -> str:
    """`escape` takes the spaces at the ends away."""
    if not text.strip():
        return " " * bool(text)
    return f"{' ' * text[0].isspace()}{escape(text)}{' ' * text[-1].isspace()}"


def _more(text: str, most: int) -> None:
    st.session_state[f"{KEY}_most_{text}"] = most + 5 * SHOWN


def draw_all() -> None:
    """The timelines that were made, newest first; for a page without a clip."""
    found = workspace().timelines.all()
    if not found:
        return
    st.subheader("Timelines", divider=False)
    most = session().timeline.listed
    with st.container(gap="xsmall", key="timeline_all"):
        for timeline in found[:most]:
            st.button(
                f"**{escape(timeline.title)}** · {escape(picker.label(timeline))}",
                key=f"timeline_open_{timeline.identity}",
                type="tertiary",
                width="stretch",
                wrap=True,
                icon=":material/view_timeline:",
                on_click=picker.open_timeline,
                args=(timeline,),
            )
        if len(found) > most:
            st.button(f"Show more ({len(found) - most:,})", key="timeline_more", type="tertiary", on_click=_list_more)


def _list_more() -> None:
    session().timeline.listed += LISTED

"""Earlier sessions: their frames, answers and alerts, as they are stored."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import Timeline
from ui import forms
from ui.live import entries
from ui.state import session, workspace
from ui.text import escape

SHOWN = 60
FORM = "live past"
KEY = "live_past"


def draw() -> None:
    """The list, and the session that is open."""
    running = workspace().live.running
    past = [t for t in workspace().live.past() if running is None or t.identity != running.identity]
    if not past:
        return
    st.subheader("Earlier sessions")
    names = {timeline.identity: _title(timeline) for timeline in past}
    page = session().live
    page.open = st.session_state[KEY] = page.open if page.open in names else ""  # a new session closes it
    st.selectbox(
        "Session",
        ["", *names],
        key=KEY,
        format_func=lambda key: names.get(key, "Choose one"),
        on_change=_choose,
    )
    found = next((timeline for timeline in past if timeline.identity == page.open), None)
    if found is not None:
        _draw_session(found)
    forms.draw_problems(FORM)


def _choose() -> None:
    session().live.open = st.session_state[KEY] or ""


def _title(timeline: Timeline) -> str:
    return f"{timeline.title} · {datetime.fromtimestamp(timeline.created):%Y-%m-%d %H:%M}"


def _draw_session(timeline: Timeline) -> None:
    live = workspace().live
    events, segments = live.events(timeline.identity), live.entries(timeline.identity, SHOWN)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(escape(" · ".join([timeline.model, *timeline.columns.values()])), width="stretch")
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            st.write("Delete this session with its frames, answers and alerts?")
            st.button("Delete it", key="live_delete", on_click=_delete, args=(timeline.identity,))
    left, right = st.columns([5, 6], gap="large")
    with left:
        st.markdown(f"**Alerts** · {len(events):,}")
        if events:
            entries.draw("live_past_events", "Alerts", [entries.of_event(event) for event in events[:SHOWN]])
        if len(events) > SHOWN:
            st.caption(f"The newest {SHOWN} alerts.")
    with right:
        told = {event.segment for event in events if event.segment is not None}
        st.markdown("**Answers**")
        entries.draw("live_past_entries", "Answers", [entries.of_segment(s, timeline, told) for s in segments])
        if len(segments) == SHOWN:
            st.caption(f"The newest {SHOWN} answers.")


def _delete(identity: str) -> None:
    forms.pressed(FORM)
    try:
        workspace().live.delete(identity)
    except LensError as error:
        forms.refuse(FORM, error)
        return
    session().live.open = ""

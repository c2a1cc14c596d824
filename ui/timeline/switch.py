"""Which view of the Video page is open: the chat about a clip, or its timeline."""

from __future__ import annotations

import streamlit as st

from ui import address
from ui.chat import ask_bar, media
from ui.state import session

CHAT, TIMELINE = "Chat", "Timeline"
KEY = "video_view"


def draw() -> bool:
    """Whether the timeline is shown. The address names it, so a link or a reload opens it again."""
    page = session().timeline
    page.shown = address.follow(address.VIEW, "timeline" if page.shown else None) == "timeline"
    st.session_state[KEY] = TIMELINE if page.shown else CHAT  # Streamlit forgets it while another page is open
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="view_bar"):
        st.segmented_control(
            "View", [CHAT, TIMELINE], key=KEY, required=True, label_visibility="collapsed", on_change=_chosen
        )
        if page.shown:  # the chat has it beside its question box
            st.html(ask_bar.STYLE)
            media.draw_uploader("video")
            media.draw_button("video")
    if not page.shown:
        address.show(address.TIMELINE, None)
    return page.shown


def _chosen() -> None:
    session().timeline.shown = st.session_state[KEY] == TIMELINE

"""The parts of the Timeline view, in their order: the player with the moments below it, and beside them the timeline and what is
made of it."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.conversations.clip_frames import StoredClip
from ui import state
from ui.chat import media
from ui.chat.choice import Choice
from ui.clip import controls, layout, player
from ui.state import session


def draw(clip: StoredClip | None, choice: Choice) -> None:
    """`clip`: the one that is open on the page, if any."""
    state.show_notices()
    media.draw_notes()
    if clip is None:
        _draw_start()
        return
    side, main = layout.draw_beside()
    with side:
        controls.draw_facts(clip, None)
        player.draw(clip.sha256, clip.facts, (), seek=session().timeline.seek)
        # moments: here
    with main:
        # timeline, summary, compare, export: here, in this order
        st.empty()


def _draw_start() -> None:
    st.markdown("See what happens in a clip, part by part. Search it, ask about every part, correct and export it.")
    media.draw_zone()

"""Where the clip and the chat stand: side by side on wide screens, on narrow ones the clip above the chat, to fold away."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui.state import session
from ui.text import escape

_CSS = (Path(__file__).parent / "layout.css").read_text(encoding="utf-8")
_FOLDED = "@media (max-width: 1099px) { .st-key-clip_body { display: none; } }"


def draw(name: str, conversation: str | None, questions: int) -> tuple[DeltaGenerator, DeltaGenerator]:
    """The containers of the clip and of the chat. The panel folds by itself with each question."""
    state = (conversation, questions)
    is_open = session().clip_panel.get(state, questions == 0)
    st.html(f"<style>{_CSS}{'' if is_open else _FOLDED}</style>")
    with st.container(key="clip_stage"):
        with st.container(key="clip_side"):
            with st.container(key="clip_fold"):
                st.button(
                    f"{'Hide' if is_open else 'Show'} {escape(name)} and its frames",
                    icon=":material/keyboard_arrow_up:" if is_open else ":material/keyboard_arrow_down:",
                    key="clip_fold_button",
                    width="stretch",
                    on_click=_fold,
                    args=(state, not is_open),
                )
            clip = st.container(key="clip_body")
        chat = st.container(key="clip_chat")
    return clip, chat


def draw_beside() -> tuple[DeltaGenerator, DeltaGenerator]:
    """The containers of the clip and of what is about it, without a chat: nothing folds."""
    st.html(f"<style>{_CSS}</style>")
    with st.container(key="clip_stage"):
        return st.container(key="clip_side"), st.container(key="clip_chat")


def _fold(state: tuple[str | None, int], is_open: bool) -> None:
    session().clip_panel = {state: is_open}

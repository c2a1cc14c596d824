"""The box for questions. A question that is refused goes back into it, with the reason above."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.conversations.store import ConversationKind
from ui import state
from ui.state import session


def draw(kind: ConversationKind, placeholder: str, *, disabled: bool = False) -> str:
    """What was sent in this run, without spaces around it; "" for nothing."""
    key = f"ask_{kind}"
    if (text := session().refused.pop(kind, None)) is not None:
        st.session_state[key] = text
    if sent := (st.chat_input(placeholder, key=key, disabled=disabled) or "").strip():
        state.clear_notices()
    return sent


def give_back(kind: ConversationKind, text: str, why: object) -> None:
    """Refuse a question: the next run has it in the box, and says why."""
    state.notify(str(why))
    session().refused[kind] = text

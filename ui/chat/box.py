"""The box for questions. A question that is refused goes back into it, with the reason above it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import streamlit as st

from smolvlm_core.conversations.store import ConversationKind
from ui import state
from ui.state import Refused, session
from ui.text import show_error


def draw(kind: ConversationKind, placeholder: str, *, disabled: bool = False) -> str:
    """What was sent in this run, without spaces around it; "" for nothing."""
    key, refused = f"ask_{kind}", session().refused.get(kind)
    if refused is not None and not refused.shown:
        st.session_state[key] = refused.question
        session().refused[kind] = replace(refused, shown=True)
    # Outside of containers the page stays at its end, as answers need. Without a conversation it begins at its top.
    with nullcontext() if session().open_conversations[kind] else st.bottom:
        sent = (st.chat_input(placeholder, key=key, disabled=disabled) or "").strip()
    if sent:
        state.clear_notices()
        session().refused.pop(kind, None)
    return sent


def draw_refusal(kind: ConversationKind) -> None:
    """Why the question in the box was not sent."""
    if (refused := session().refused.get(kind)) is not None:
        show_error(f"Your question was not sent. {refused.why}")


def is_given_back(kind: ConversationKind) -> bool:
    """Whether a question waits to be put into the box: the page must run again."""
    refused = session().refused.get(kind)
    return refused is not None and not refused.shown


def give_back(kind: ConversationKind, text: str, why: object) -> None:
    """Refuse a question: the next run has it in the box, and says why above."""
    session().refused[kind] = Refused(text, str(why))

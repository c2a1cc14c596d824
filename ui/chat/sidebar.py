"""The sidebar of the chat pages: model, its state, settings, conversations; and the warning above the chat."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from smolvlm_core.conversations.store import ConversationKind
from ui.backends import check_progress
from ui.chat import conversations, keyboard, model, settings
from ui.chat.choice import Choice
from ui.state import workspace
from ui.text import escape, message

STYLE = Path(__file__).with_name("sidebar.css")


def draw(kind: ConversationKind) -> Choice:
    """For a chat page."""
    choice = draw_model()
    with st.sidebar:
        conversations.draw(kind)
        keyboard.draw()
    return choice


def draw_model() -> Choice:
    """The model, its status and the settings, without conversations."""
    st.html(STYLE)
    with st.sidebar:
        entry = model.choose()
        status = st.container()
        generation, precision = settings.draw(entry.precisions)
        backend = entry.make(workspace().pool, precision)
        with status:
            model.draw_status(backend)
    return Choice(entry, backend, generation)


def draw_other(*, with_model: bool) -> None:
    """For a page without a chat: the models that are loaded or added, and the memory of the app. `with_model`: and which one the
    chats use, to choose."""
    st.html(STYLE)
    with st.sidebar:
        if with_model:
            model.choose()
        model.draw_loaded()


def warn_if_blind(choice: Choice) -> None:
    """Above the chat, before anything is asked: a model that cannot be shown pictures, or was found not to see them. And which
    model it is, where the sidebar is folded."""
    backend = choice.backend
    model.draw_chip(backend)
    if backend.warning:
        st.error(message(backend.warning), icon=":material/visibility_off:")
        return
    stored = workspace().verdicts.last(backend)
    if stored is not None and stored.verdict in ("blind", "degraded"):
        title, why = escape(backend.spec.title), f"{message(stored.cause)} {message(stored.fix)}"
        if stored.verdict == "blind":
            text = f"**{title} was found blind**: it answers about pictures without seeing them. {why}"
            st.error(text.strip(), icon=":material/visibility_off:")
        else:
            text = f"**{title} was found degraded**: verify what it says about pictures. {why}"
            st.warning(text.strip(), icon=":material/warning:")
    check_progress.draw(backend)

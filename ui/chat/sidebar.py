"""The sidebar of the chat pages: model, its status, settings, conversations; and the warning above the chat."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.conversations.store import ConversationKind
from ui.backends import badges, check_progress
from ui.chat import conversations, keyboard, model, settings
from ui.chat.choice import Choice
from ui.state import workspace
from ui.text import escape, message


def draw(kind: ConversationKind) -> Choice:
    """For a chat page."""
    choice = draw_model()
    with st.sidebar:
        conversations.draw(kind)
        keyboard.draw()
    return choice


def draw_model() -> Choice:
    """The model, its status and the settings, without conversations."""
    with st.sidebar:
        entry = model.choose()
        status = st.container()
        generation, precision = settings.draw(entry.precisions)
        backend = entry.make(workspace().pool, precision)
        with status:
            badges.draw_last(backend)
            model.draw_status(backend)
    return Choice(entry, backend, generation)


def warn_if_blind(choice: Choice) -> None:
    """Above the chat, before anything is asked: a model that cannot be shown pictures, or was found not to see them."""
    backend = choice.backend
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

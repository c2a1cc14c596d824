"""Questions that could not be stored: shown again above the chat, to send or to discard."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.conversations.unsent import UnsentQuestion
from smolvlm_core.errors import StoreError
from smolvlm_core.prompt.messages import Attachment
from smolvlm_core.text import valid_text
from ui.state import session
from ui.text import show_error


def keep(kind: ConversationKind, text: str, attachments: tuple[Attachment, ...], why: StoreError) -> None:
    question = UnsentQuestion(
        kind=kind,
        conversation=session().open_conversations[kind],
        text=text,
        attachments=attachments,
        why=str(why),
    )
    session().unsent = (*session().unsent, question)


def draw(kind: ConversationKind) -> str | None:
    """Those of the open conversation. Returns the text of one that the user sends again; its pictures are pending again."""
    chosen = None
    for number, question in enumerate(session().unsent):
        if (question.kind, question.conversation) == (kind, session().open_conversations[kind]):
            with st.container(border=True):
                show_error(f"Your question is not sent: {question.why}")
                st.text(valid_text(question.text))
                again, discard = st.columns(2)
                if again.button("Send again", key=f"resend_{kind}_{number}", type="primary", width="stretch"):
                    chosen = question
                discard.button(
                    "Discard", key=f"discard_{kind}_{number}", width="stretch", on_click=_forget, args=(question,)
                )
    return _sent_again(chosen) if chosen is not None else None


def _sent_again(question: UnsentQuestion) -> str:
    _forget(question)
    if question.kind == "image":
        pending = session().pending
        session().pending = (*pending, *(a for a in question.attachments if a not in pending))
    return question.text


def _forget(question: UnsentQuestion) -> None:
    session().unsent = tuple(other for other in session().unsent if other is not question)

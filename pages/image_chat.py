"""Chat about one or more pictures."""

import streamlit as st

from smolvlm_core.conversations import context
from smolvlm_core.media import IMAGE_EXTENSIONS
from ui import state
from ui.chat import gauge, pictures, sidebar, transcript, unsent
from ui.chat.choice import Choice
from ui.state import session, workspace


def cost(choice: Choice) -> context.Cost:
    return context.of_next_question(
        workspace().store,
        choice.backend.spec,
        conversation,
        session().pending,
        choice.settings.system_prompt,
        memory_of=choice.memory_of,
    )


def send(text: str, choice: Choice) -> None:
    """Store the question and start its answer, or say why not. Nothing typed or added is lost."""
    spent = cost(choice)
    if session().notices:
        state.notify(f"Your question was not sent: {text}")
    elif not spent.fits:
        state.notify(
            f"This does not fit: {spent.describe()}. Remove some pictures, or start a new conversation. Your question: {text}"
        )
    elif transcript.ask("image", choice, text, session().pending):
        session().pending = ()


chosen = sidebar.draw("image")
conversation = state.conversation("image")
st.title("Image chat")
sidebar.warn_if_blind(chosen)
if conversation is None:
    st.caption("Add a picture and ask about it. Follow-up questions keep the pictures.")
question = st.chat_input(
    "Ask about the pictures",
    accept_file="multiple",
    file_type=list(IMAGE_EXTENSIONS),
    submit_mode="stop",
    key="ask_image",
)
if question:
    for file in question.files:
        pictures.add(file.getvalue(), file.name)
    if question.text.strip():
        send(question.text.strip(), chosen)
if again := unsent.draw("image"):
    send(again, chosen)
    st.rerun()
state.show_notices()
pictures.draw_uploader(expanded=conversation is None and not question)
transcript_area, pending_area = st.container(), st.container()
with pending_area:
    if session().pending:
        pictures.draw_pending()
        next_cost = cost(chosen)
        if next_cost.fits:
            st.caption(f"{next_cost.describe()}.")
        else:
            st.error(f"{next_cost.describe()}. Remove some pictures.")
    gauge.draw("image", chosen, session().pending)
with transcript_area:
    transcript.draw("image", chosen)

"""Chat about one or more pictures."""

import streamlit as st

from smolvlm_core.conversations import context
from ui import state
from ui.chat import box, pictures, sidebar, transcript, unsent
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
    if not spent.fits:
        box.give_back(
            "image", text, f"This does not fit: {spent.describe()}. Remove some pictures, or start a new conversation."
        )
    elif transcript.ask("image", choice, text, session().pending):
        session().pending = ()


chosen = sidebar.draw("image")
conversation = state.conversation("image")
st.title("Image chat")
sidebar.warn_if_blind(chosen)
if conversation is None:
    st.caption("Add a picture and ask about it. Follow-up questions keep the pictures.")
question = box.draw("image", "Ask about the pictures")
if question:
    send(question, chosen)
if box.is_given_back("image"):
    st.rerun()
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
with transcript_area:
    transcript.draw("image", chosen)

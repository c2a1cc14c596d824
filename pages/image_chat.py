"""Chat about one or more pictures."""

from functools import partial

import streamlit as st

from smolvlm_core.conversations import context
from ui import state
from ui.chat import ask_bar, box, gauge, media, sidebar, start, starters, transcript, unsent
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
        box.give_back("image", text, "It does not fit: remove some pictures, or start a new conversation.")
    elif transcript.ask("image", choice, text, session().pending):
        session().pending, session().media_notes = (), ()
        if conversation is None:
            st.rerun()  # the sidebar lists it, and the page stays at its end while it is answered


media.open_their_page("image")
chosen = sidebar.draw("image")
conversation = state.conversation("image")
st.title("Image chat")
sidebar.warn_if_blind(chosen)
bar = ask_bar.draw("image")
question = box.draw("image", "Ask about the pictures") or start.chosen_question("image")
if question:
    send(question, chosen)
if box.is_given_back("image"):
    st.rerun()
if again := unsent.draw("image"):
    send(again, chosen)
    st.rerun()
state.show_notices()
asked = state.conversation("image")
pending = session().pending
spent = cost(chosen) if pending or asked else None
bar.fill(
    draw_cost=partial(gauge.draw, "image", chosen, pending, spent) if spent is not None else None,
    questions=() if asked else starters.on_pictures(chosen.backend.spec, [a.name for a in pending]),
    hint=ask_bar.without_pictures(asked),
)
if asked:
    st.empty()  # in the place of the start, which is gone at once
    transcript.draw("image", chosen)
else:
    with st.container():
        start.draw("image", chosen)

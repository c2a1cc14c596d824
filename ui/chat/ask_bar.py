"""The bottom of a chat page: the question box with the buttons beside it, and above it what goes with the next question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.prompt.messages import active_turns
from ui.chat import box, media, pictures, start
from ui.state import session, workspace

STYLE = Path(__file__).with_name("ask_bar.css")
NO_PICTURE = "No picture in this conversation: the model answers from text alone."
ALL_HIDDEN = "All pictures of this conversation are hidden from the model: it answers from text alone."


class AskBar:
    """What stands above the question box. It is filled once the page knows whether a question was sent."""

    def __init__(self, kind: ConversationKind, above: DeltaGenerator) -> None:
        self._kind, self._above = kind, above

    def fill(
        self,
        *,
        draw_cost: Callable[[], object] | None = None,
        questions: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        """`draw_cost`: of the next question. `questions`: to choose from. `hint`: one quiet line."""
        waiting = self._kind == "image" and session().pending
        with self._above:
            _slot(self._kind in session().refused, lambda: box.draw_refusal(self._kind))
            _slot(bool(session().media_notes), media.draw_notes)
            _slot(bool(waiting), pictures.draw_pending)
            _slot(draw_cost is not None, draw_cost or st.empty)
            _slot(bool(questions), lambda: start.draw_questions(self._kind, questions))
            _slot(bool(hint), lambda: st.caption(f":material/info: {hint}"))


def draw(kind: ConversationKind) -> AskBar:
    """Call it before st.chat_input, which stays outside of containers: only then does the page follow an answer as it grows."""
    st.html(STYLE)
    with st.bottom:
        bar = AskBar(kind, st.container(gap="xsmall"))
        media.draw_uploader(kind)
        with st.container(horizontal=True, gap="xsmall", key="ask_buttons", width="content"):
            media.draw_button(kind)
            if kind == "image":
                pictures.draw_camera()
    return bar


def without_pictures(conversation: str | None) -> str:
    """Says that the model answers from text alone, where the conversation shows it no picture and none is added."""
    turns = active_turns(workspace().store.messages(conversation)) if conversation else []
    attachments = [attachment for question, _ in turns for attachment in question.attachments]
    if not turns or session().pending or any(attachment.shown for attachment in attachments):
        return ""
    return ALL_HIDDEN if attachments else NO_PICTURE


def _slot(filled: bool, draw_it: Callable[[], object]) -> None:
    """Each part has its own place, and an empty one is cleared at once: otherwise what was just sent would stay until the
    script ends, that is until its answer ends."""
    if filled:
        with st.container():
            draw_it()
    else:
        st.empty()

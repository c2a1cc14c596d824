"""What a chat page shows before the first question: what it is for, where to add media, and samples with a question each."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from smolvlm_core.conversations.store import ConversationKind
from ui import gallery
from ui.chat import media, starters
from ui.chat.choice import Choice
from ui.state import session
from ui.text import escape

PURPOSE = {
    "image": "Ask questions about pictures.",
    "video": "Ask questions about a clip. The model is shown some of its frames: you see which, and you decide.",
}
WHERE = {
    "here": "The model runs on this machine: nothing is sent anywhere.",
    "remote": "This model runs on another server, which is sent what you ask and add.",
}


def draw(kind: ConversationKind, choice: Choice) -> None:
    remote = choice.backend.status().state == "remote"
    st.markdown(f"{PURPOSE[kind]} {WHERE['remote' if remote else 'here']}")
    if choice.backend.note:
        st.caption(f":material/info: {escape(choice.backend.spec.title)}. {escape(choice.backend.note)}")
    media.draw_zone()
    if session().pending and kind == "image":
        return
    st.caption("Or try a sample: a click asks the question.")
    if kind == "image":
        _draw_samples(choice)
    else:
        _draw_clips(choice)


def _draw_samples(choice: Choice) -> None:
    """All samples, each with one question."""
    grid = st.grid(6, min_column_width=100, gap="small", key="samples")
    for path in (*gallery.images(), *gallery.clips()):
        with grid.cell(), st.container(gap="xsmall"):
            st.image(gallery.card_picture(path), width="stretch", alt=f"Sample {path.stem}")
            _question(path, 0, starters.on_sample(choice.backend.spec, path.name)[0])


def _draw_clips(choice: Choice) -> None:
    """The clips, each with all of its questions."""
    for path in gallery.clips():
        with st.container(horizontal=True, vertical_alignment="center", key="samples"):
            st.image(gallery.poster(path), width=240, alt=f"Sample {path.stem}")
            with st.container(width="content", gap="xsmall"):
                for number, question in enumerate(starters.on_sample(choice.backend.spec, path.name)):
                    _question(path, number, question)


def _question(path: Path, number: int, question: str) -> None:
    key = f"ask_{path.stem}_{number}"
    st.button(question, key=key, width="stretch", wrap=True, on_click=_ask, args=(path, question))


def _ask(path: Path, question: str) -> None:
    media.use_sample(path)
    session().starter = ("video" if path.suffix == ".mp4" else "image", question)


def draw_questions(kind: ConversationKind, questions: tuple[str, ...]) -> None:
    """Small buttons above the question box."""
    with st.container(horizontal=True, gap="xsmall", key="starters"):
        for number, question in enumerate(questions):
            st.button(
                escape(question),
                key=f"starter_{kind}_{number}",
                type="tertiary",
                icon=":material/chat_bubble:",
                on_click=_choose,
                args=(kind, question),
            )


def _choose(kind: ConversationKind, question: str) -> None:
    session().starter = (kind, question)


def chosen_question(kind: ConversationKind) -> str | None:
    """The starter question that was clicked, once."""
    starter = session().starter
    if starter is None or starter[0] != kind:
        return None
    session().starter = None
    return starter[1]

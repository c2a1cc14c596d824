"""Under a question or an answer: its versions as ‹ 2 / 3 ›, and a button that copies an answer's text."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Message
from ui import state
from ui.state import workspace

_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"answer_bar.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("answer_bar", html=_html, css=_css, js=_js)


def draw(conversation: str, message: Message, versions: list[Message], *, locked: bool) -> None:
    """`locked`: an answer is being written, so that no other version can be chosen."""
    text = message.text if message.role == "assistant" and message.text else None
    ids = [version.id for version in versions]
    if len(ids) < 2 and text is None:
        return
    key = f"versions_{ids[0]}"  # the same for all versions: the focus stays on the button
    at = ids.index(message.id)

    def step() -> None:
        chosen = at + int(st.session_state[key]["step"])
        if 0 <= chosen < len(ids):
            _choose(conversation, ids[chosen])

    _component(
        key=key,
        data={
            "what": "answer" if message.role == "assistant" else "question",
            "number": at + 1,
            "count": len(ids),
            "locked": locked,
            "text": text,
        },
        width="content",
        on_step_change=step,
    )


def _choose(conversation: str, message_id: int) -> None:
    try:
        workspace().store.choose(conversation, message_id)
    except LensError as error:
        state.notify(error)

"""Pictures that go with the next question: adding, showing, removing."""

from __future__ import annotations

import time

import streamlit as st

from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.errors import LensError
from ui.pictures import parts, shown
from ui.state import MediaNote, session, workspace
from ui.text import escape


def add(data: bytes, name: str) -> None:
    """Add a picture to the next question. What is refused or there already is named."""
    try:
        workspace().refuse_if_full(len(data))
        attachment = attach_image(workspace().store, data, name)
    except LensError as error:
        note(str(error), is_problem=True)
        return
    same = next((a for a in session().pending if a.sha256 == attachment.sha256), None)
    if same is None:
        session().pending = (*session().pending, attachment)
    elif same.name == name:
        note(f"{name} is already added.")
    else:
        note(f"{name} is the same picture as {same.name}, which is already added.")


def note(text: str, *, is_problem: bool = False) -> None:
    """Say what became of a file, beside the question box, until a question is sent or more is added."""
    known = {old.text for old in session().media_notes}
    if text not in known:
        session().media_notes = (*session().media_notes, MediaNote(text, is_problem, time.time()))


def draw_camera() -> None:
    """A small button that opens the camera. Nothing asks for the camera before it is pressed."""
    with st.popover(
        "Camera", icon=":material/photo_camera:", help="Take a picture", key="camera_menu", on_change="rerun"
    ) as menu:
        if menu.open:
            st.camera_input("Take a picture", key="camera", on_change=_add_photo)


def _add_photo() -> None:
    if (photo := st.session_state.get("camera")) is not None:
        add(photo.getvalue(), "camera.jpg")


def draw_pending() -> None:
    pending = session().pending
    pictures = [shown.of_picture(attachment) for attachment in pending]
    with st.container(horizontal=True, key="pending", gap="small"):
        for index, attachment in enumerate(pending):
            with st.container(width=104, gap=None):
                parts.draw(f"pending_{attachment.sha256}", pictures, only=index, edge=96)
                if attachment.notes:
                    st.caption(" · ".join(escape(each) for each in attachment.notes))
                st.button(
                    "Remove",
                    key=f"remove_{attachment.sha256}",
                    icon=":material/close:",
                    type="tertiary",
                    help=f"Remove {escape(attachment.name)}",
                    on_click=_remove,
                    args=(attachment.sha256,),
                )


def _remove(sha256: str) -> None:
    session().pending = tuple(a for a in session().pending if a.sha256 != sha256)
    session().media_notes = ()

"""Pictures that go with the next question: upload, camera, samples, remove."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.errors import LensError
from ui import gallery, state, uploaders
from ui.pictures import parts, shown
from ui.state import session, workspace
from ui.text import escape


def add(data: bytes, name: str) -> None:
    try:
        workspace().refuse_if_full(len(data))
        attachment = attach_image(workspace().store, data, name)
    except LensError as error:
        state.notify(error)
        return
    if attachment.sha256 not in {a.sha256 for a in session().pending}:
        session().pending = (*session().pending, attachment)


def draw_uploader(*, expanded: bool) -> None:
    with st.expander("Add pictures", expanded=expanded, icon=":material/add_photo_alternate:"):
        upload, camera, samples = st.tabs(["Upload", "Camera", "Samples"])
        with upload:
            uploaders.draw_pictures("chat", _add_uploads)
        with camera:
            if st.toggle("Use the camera"):
                st.camera_input("Take a picture", key="camera", on_change=_add_photo)
        with samples:
            gallery.draw_images(_add_sample)


def _add_uploads(files: list[tuple[bytes, str]]) -> None:
    for data, name in files:
        add(data, name)


def _add_photo() -> None:
    if (photo := st.session_state.get("camera")) is not None:
        add(photo.getvalue(), "camera.jpg")


def _add_sample(path: Path) -> None:
    add(path.read_bytes(), path.name)


def draw_pending() -> None:
    st.caption("Goes with your next question:")
    with st.container(horizontal=True):
        pending = session().pending
        for index, attachment in enumerate(pending):
            with st.container(width=150, gap="xsmall"):
                pictures = [shown.of_picture(waiting) for waiting in pending]
                parts.draw(f"pending_{attachment.sha256}", pictures, only=index, edge=140)
                if attachment.notes:
                    st.caption(" · ".join(escape(note) for note in attachment.notes))
                st.button(
                    "Remove",
                    key=f"remove_{attachment.sha256}",
                    icon=":material/close:",
                    type="tertiary",
                    on_click=_remove,
                    args=(attachment.sha256,),
                )


def _remove(sha256: str) -> None:
    session().pending = tuple(a for a in session().pending if a.sha256 != sha256)

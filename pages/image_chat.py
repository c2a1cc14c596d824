"""Chat about one or more pictures."""

from pathlib import Path

import streamlit as st

from smolvlm_core.conversations import context as cost
from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.errors import LensError
from smolvlm_core.media import IMAGE_EXTENSIONS, MAX_IMAGE_BYTES
from smolvlm_core.prompt.messages import Attachment
from ui import gallery, state
from ui.chat import sidebar, transcript
from ui.frames import small_picture
from ui.text import escape

store = state.prepare()


def add(data: bytes, name: str) -> None:
    try:
        attachment = attach_image(store, data, name)
    except LensError as error:
        state.notify(error)
        return
    if attachment.sha256 not in {a.sha256 for a in state.pending()}:
        st.session_state["pending"] = (*state.pending(), attachment)


def take_uploads(key: str) -> None:
    """`key` of the uploader that called: the round may have moved on since that uploader was drawn."""
    for upload in st.session_state.get(key) or []:
        add(upload.getvalue(), upload.name)
    st.session_state["inlet_round"] += 1  # a new key empties the uploader: its files now wait below


def take_photo() -> None:
    if (photo := st.session_state.get("camera")) is not None:
        add(photo.getvalue(), "camera.jpg")


def take_sample(path: Path) -> None:
    add(path.read_bytes(), path.name)


def remove(sha256: str) -> None:
    st.session_state["pending"] = tuple(a for a in state.pending() if a.sha256 != sha256)


def draw_inlet(opened: bool) -> None:
    with st.expander("Add pictures", expanded=opened, icon=":material/add_photo_alternate:"):
        upload, camera, samples = st.tabs(["Upload", "Camera", "Samples"])
        with upload:
            key = f"inlet_{st.session_state['inlet_round']}"
            st.file_uploader(
                "Drop, paste or choose pictures",
                type=list(IMAGE_EXTENSIONS),
                accept_multiple_files=True,
                max_upload_size=MAX_IMAGE_BYTES // 2**20,
                key=key,
                on_change=take_uploads,
                args=(key,),
            )
        with camera:
            if st.toggle("Use the camera"):
                st.camera_input("Take a picture", key="camera", on_change=take_photo)
        with samples:
            gallery.draw_images(take_sample)


def draw_pending(attachments: tuple[Attachment, ...]) -> None:
    st.caption("Goes with your next question:")
    with st.container(horizontal=True):
        for attachment in attachments:
            with st.container(width=150):
                st.image(small_picture(store, attachment.sha256), width=140)
                st.caption("".join((escape(attachment.name), *(f" · {escape(note)}" for note in attachment.notes))))
                st.button(
                    "Remove",
                    key=f"remove_{attachment.sha256}",
                    icon=":material/close:",
                    type="tertiary",
                    on_click=remove,
                    args=(attachment.sha256,),
                )


def send(text: str) -> None:
    """Keep the question and start its answer, or say why not; nothing typed or added is lost."""
    spent = cost.of_next_question(store, choice.spec, conversation, state.pending(), choice.settings.system_prompt)
    if st.session_state["notices"]:
        state.notify(f"Your question was not sent: {text}")
    elif not spent.fits:
        state.notify(
            f"This does not fit: {spent.told()}. Drop some pictures, or start a new conversation. Your question: {text}"
        )
    elif transcript.ask(store, "image", choice, text, state.pending()):
        st.session_state["pending"] = ()


choice = sidebar.draw(store, "image")
conversation = state.conversation("image")
st.title("Image chat")
sidebar.warn_if_blind(choice)
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
        add(file.getvalue(), file.name)
    if question.text.strip():
        send(question.text.strip())
state.show_notices()
draw_inlet(opened=conversation is None and not question)
transcript_area, waiting_area = st.container(), st.container()
with waiting_area:
    if state.pending():
        draw_pending(state.pending())
        spent = cost.of_next_question(store, choice.spec, conversation, state.pending(), choice.settings.system_prompt)
        (st.caption if spent.fits else st.error)(
            f"With these: {spent.told()}." + ("" if spent.fits else " Remove some pictures.")
        )
with transcript_area:
    transcript.draw(store, "image", choice)

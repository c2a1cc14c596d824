"""One place for media on the chat pages: pictures and clips are dropped, pasted, chosen or taken with the camera.

Each goes where questions about it are asked: pictures to Image chat, clips to Video chat.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.errors import LensError
from smolvlm_core.media import IMAGE_EXTENSIONS, MAX_IMAGE_BYTES
from smolvlm_core.video import VIDEO_EXTENSIONS
from ui import navigation, state
from ui.chat import drop, pictures
from ui.clip import selection
from ui.state import session
from ui.text import message, show_error

UPLOADER = "media_uploader"
EXTENSIONS = tuple(dict.fromkeys((*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)))
SAME_BATCH_SECONDS = 5.0  # what was refused and what was uploaded of one batch arrive one after the other


def max_clip_bytes() -> int:
    return int(st.get_option("server.maxUploadSize")) * 2**20


def is_clip(name: str, kind: ConversationKind) -> bool:
    """By its extension. A GIF is what the open page is about."""
    extension = Path(name).suffix.lower().lstrip(".")
    return extension in VIDEO_EXTENSIONS and (kind == "video" or extension not in IMAGE_EXTENSIONS)


def draw_uploader(kind: ConversationKind) -> None:
    """Where all files arrive. It is seen only while it has something to show: progress, or an upload that failed."""
    key = f"{kind}_media_{session().uploader_round}"
    with st.container(key=UPLOADER):
        st.file_uploader(
            "Pictures or a clip",
            type=list(EXTENSIONS),
            accept_multiple_files=True,
            key=key,
            on_change=_take,
            args=(key, kind),
            label_visibility="collapsed",
        )


def draw_button(kind: ConversationKind) -> None:
    """The button beside the question box. It listens for drop and paste, too."""
    kinds = [(IMAGE_EXTENSIONS, MAX_IMAGE_BYTES), (VIDEO_EXTENSIONS, max_clip_bytes())]
    drop.draw(UPLOADER, kinds if kind == "image" else kinds[::-1], _refuse)


def draw_zone() -> None:
    """For a page without a conversation."""
    limits = f"Pictures up to {_size(MAX_IMAGE_BYTES)}, clips up to {_size(max_clip_bytes())}."
    drop.draw_zone(
        UPLOADER,
        ("Add pictures or a clip", f"Drop or paste them anywhere on this page, or click to choose files. {limits}"),
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GB" if count >= 2**30 else f"{count / 2**20:.3g} MB"


def open_their_page(kind: ConversationKind) -> None:
    """Where something was just added that another page is about, open that page."""
    wanted, session().page_of_media = session().page_of_media, None
    if wanted is not None and wanted != kind:
        navigation.open_chat(wanted)


def draw_notes() -> None:
    for note in session().media_notes:
        if note.is_problem:
            show_error(note.text)
        else:
            st.caption(f":material/info: {message(note.text)}")


def use_sample(path: Path) -> None:
    """Add a sample as if it were dropped on the page."""
    _begin_batch()
    if path.suffix == ".mp4":
        with path.open("rb") as file:
            _use_clip(file, path.name)
        session().page_of_media = "video"
    else:
        pictures.add(path.read_bytes(), path.name)


def _use_clip(file: BinaryIO, name: str) -> bool:
    """False where it cannot be used, which is then said."""
    notes = session().media_notes
    try:
        selection.use(file, name)
    except LensError as error:
        session().media_notes = notes
        pictures.note(str(error), is_problem=True)
        return False
    session().media_notes = notes  # a new conversation begins without any
    return True


def _take(key: str, kind: ConversationKind) -> None:
    """`key` of the uploader that called: the round may have moved on since it was drawn."""
    found: list[UploadedFile] = st.session_state.get(key) or []
    uploads = [upload for upload in found if isinstance(upload, UploadedFile)]  # others were taken in another run
    session().uploader_round += 1  # a new key is a new, empty uploader
    _begin_batch()
    clips = [upload for upload in uploads if is_clip(upload.name, kind)]
    images = [upload for upload in uploads if upload not in clips]
    for upload in images:
        pictures.add(upload.getvalue(), upload.name)
    if clips:
        _take_clips(clips, kind)
    if (added := _names_pending(images)) and (clips or kind == "video"):
        pictures.note(f"{added} {'waits in' if clips else 'goes with your next question in'} Image chat.")
        if not clips:
            session().page_of_media = "image"
    for upload in uploads:
        state.forget_upload(upload)


def _take_clips(clips: list[UploadedFile], kind: ConversationKind) -> None:
    """Open the first one. `kind`: of the page that is open."""
    name, is_in_place_of_another = clips[0].name, session().open_conversations["video"] is not None
    for other in clips[1:]:
        pictures.note(f"{other.name} was not added: one clip at a time. Drop it again to open it.")
    if not _use_clip(clips[0], name):
        return
    if kind == "image":
        session().page_of_media = "video"
        pictures.note(f"{name} is open here: questions about clips are asked in Video chat.")
    elif is_in_place_of_another:
        pictures.note(f"{name} is open in a new conversation. The one before is in the sidebar.")


def _names_pending(images: list[UploadedFile]) -> str:
    """The names of those that were added: some may have been refused."""
    pending = {attachment.name for attachment in session().pending}
    return ", ".join(image.name for image in images if image.name in pending)


def _refuse(files: list[dict[str, Any]]) -> None:
    _begin_batch()
    for file in files:
        name, size = str(file.get("name")), int(file.get("bytes") or 0)
        if file.get("reason") == "size":
            clip = is_clip(name, "image")
            most = max_clip_bytes() if clip else MAX_IMAGE_BYTES
            what = "clips" if clip else "pictures"
            text = f"{name} is too large: {_size(size)}. The limit for {what} is {_size(most)}."
        else:
            text = f"{name} is neither a picture nor a clip. Use one of: {', '.join(EXTENSIONS)}."
        pictures.note(text, is_problem=True)


def _begin_batch() -> None:
    """What was said of an earlier batch goes."""
    now = time.time()
    session().media_notes = tuple(n for n in session().media_notes if now - n.when < SAME_BATCH_SECONDS)

"""Uploaders that empty themselves once their files are taken."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from smolvlm_core.media import IMAGE_EXTENSIONS, MAX_IMAGE_BYTES
from smolvlm_core.video import VIDEO_EXTENSIONS
from ui import state
from ui.state import session


def draw_pictures(page: str, take: Callable[[list[tuple[bytes, str]]], None]) -> None:
    """`take` gets (bytes, name) of each uploaded picture."""
    key = f"{page}_pictures_{session().uploader_round}"
    st.file_uploader(
        "Drop, paste or choose pictures",
        type=list(IMAGE_EXTENSIONS),
        accept_multiple_files=True,
        max_upload_size=MAX_IMAGE_BYTES // 2**20,
        key=key,
        on_change=_take_pictures,
        args=(key, take),
    )


def draw_clip(page: str, take: Callable[[BinaryIO, str], None]) -> None:
    """`take` gets the uploaded clip as a file, and its name."""
    key = f"{page}_clip_{session().uploader_round}"
    st.file_uploader(
        "Drop or choose a clip", type=list(VIDEO_EXTENSIONS), key=key, on_change=_take_clip, args=(key, take)
    )


def size_bytes(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _take_pictures(key: str, take: Callable[[list[tuple[bytes, str]]], None]) -> None:
    """`key` of the uploader that called: the round may have moved on since it was drawn."""
    uploads = st.session_state.get(key) or []
    session().uploader_round += 1  # a new key is a new, empty uploader
    take([(upload.getvalue(), upload.name) for upload in uploads])


def _take_clip(key: str, take: Callable[[BinaryIO, str], None]) -> None:
    upload = st.session_state.get(key)
    session().uploader_round += 1
    if isinstance(upload, UploadedFile):  # not one that the callback of another run took
        take(upload, upload.name)
        state.forget_upload(upload)

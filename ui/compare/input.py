"""What a comparison shows to all of its backends: pictures, or frames of a clip, held for this session."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from PIL import Image

from smolvlm_core import media
from smolvlm_core.conversations.attachments import describe_clip
from smolvlm_core.errors import LensError
from smolvlm_core.media import IMAGE_EXTENSIONS, MAX_IMAGE_BYTES
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.video import VIDEO_EXTENSIONS, sample_clip
from ui import gallery, state
from ui.frames import draw_frames
from ui.text import escape

MOST_FRAMES = 64


@dataclass(frozen=True)
class Shown:
    """`pictures` by SHA-256."""

    attachments: tuple[Attachment, ...] = ()
    pictures: dict[str, Image.Image] | None = None

    def prompt(self, question: str) -> Prompt:
        return build_prompt([Message("user", question, self.attachments)], (self.pictures or {}).__getitem__)

    def draw(self) -> None:
        held = self.pictures or {}
        for attachment in self.attachments:
            if attachment.kind == "video":
                draw_frames([(f.timestamp_seconds, held[f.sha256]) for f in attachment.frames])
            else:
                draw_frames([(attachment.name, held[attachment.sha256])])
            for note in attachment.notes:
                st.caption(escape(note))


def draw() -> Shown:
    """The inlets, and what is held."""
    pictures, clip = st.tabs(["Pictures", "Clip"])
    with pictures:
        st.file_uploader(
            "Drop, paste or choose pictures",
            type=list(IMAGE_EXTENSIONS),
            accept_multiple_files=True,
            max_upload_size=MAX_IMAGE_BYTES // 2**20,
            key=f"compare_pictures_{st.session_state['compare_round']}",
            on_change=_take_pictures,
            args=(f"compare_pictures_{st.session_state['compare_round']}",),
        )
        gallery.draw_images(lambda path: _take([(path.read_bytes(), path.name)]))
    with clip:
        st.slider("Frames, evenly spaced", 1, MOST_FRAMES, key="compare_count", on_change=_sample_again)
        st.file_uploader(
            "Choose a clip",
            type=list(VIDEO_EXTENSIONS),
            key=f"compare_clip_{st.session_state['compare_round']}",
            on_change=_take_upload,
            args=(f"compare_clip_{st.session_state['compare_round']}",),
        )
        for path in gallery.clips():
            st.button(f"Use {path.name}", on_click=_take_clip, args=(path.read_bytes(), path.name))
    shown: Shown = st.session_state["compare_shown"] or Shown()
    if shown.attachments:
        shown.draw()
        st.button("Clear", icon=":material/close:", type="tertiary", on_click=_clear)
    return shown


def _clear() -> None:
    st.session_state["compare_shown"] = st.session_state["compare_bytes"] = None


def _take_pictures(key: str) -> None:
    files = st.session_state.get(key) or []
    _take([(file.getvalue(), file.name) for file in files])
    st.session_state["compare_round"] += 1


def _take(files: list[tuple[bytes, str]]) -> None:
    """Add pictures to those held; they take the place of a clip."""
    if not files:
        return
    before: Shown = st.session_state["compare_shown"] or Shown()
    kept = [a for a in before.attachments if a.kind == "image"]
    held = {a.sha256: (before.pictures or {})[a.sha256] for a in kept}
    was = len(kept)
    for data, name in files:
        try:
            opened = media.open_image(data, name)
        except LensError as error:
            state.notify(error)
            continue
        if opened.sha256 not in held:
            held[opened.sha256] = opened.image
            size = (opened.width, opened.height)
            kept.append(Attachment("image", opened.sha256, name, opened.mime, *size, notes=opened.notes))
    if len(kept) > was:  # else a clip would go for nothing
        st.session_state["compare_shown"], st.session_state["compare_bytes"] = Shown(tuple(kept), held), None


def _take_upload(key: str) -> None:
    upload = st.session_state.get(key)
    if upload is not None:
        _take_clip(upload.getvalue(), upload.name)
        st.session_state["compare_round"] += 1
        state.forget_upload(upload)


def _take_clip(data: bytes, name: str) -> None:
    try:
        sampled = sample_clip(data, int(st.session_state["compare_count"]))
    except LensError as error:
        state.notify(error)
        return
    attachment, pngs = describe_clip(hashlib.sha256(data).hexdigest(), name, sampled)
    held = {key: media.open_image(png, "frame.png").image for key, png in pngs.items()}
    st.session_state["compare_shown"] = Shown((attachment,), held)
    st.session_state["compare_bytes"] = (data, Path(name).name)


def _sample_again() -> None:
    if (clip := st.session_state["compare_bytes"]) is not None:
        _take_clip(*clip)

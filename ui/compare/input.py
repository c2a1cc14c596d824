"""What a comparison shows to all of its backends: pictures, or frames of a clip. Clips go through the store, never whole in memory."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import streamlit as st

from smolvlm_core import media
from smolvlm_core.conversations.attachments import describe_clip, image_attachment
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.messages import Message
from smolvlm_core.times import time_text
from smolvlm_core.video import sample_clip
from ui import forms, gallery, uploaders
from ui.pictures import shown as pictures
from ui.pictures import strip
from ui.state import session, workspace
from ui.text import escape

MAX_FRAMES = 64
PICTURES, CLIP = "compare pictures", "compare clip"


def prompt(question: str) -> Prompt:
    """A question about what is shown. Raises PromptError."""
    shown = session().compare
    return build_prompt([Message("user", question, shown.attachments)], shown.pictures.__getitem__)


def draw() -> None:
    """The uploaders, and what is shown."""
    shown = session().compare
    pictures, clip = st.tabs(["Pictures", "Clip"])
    with pictures:
        uploaders.draw_pictures("compare", _add_pictures)
        forms.draw_problems(PICTURES)
        gallery.draw_images(lambda path: _add_pictures([(path.read_bytes(), path.name)]))
    with clip:
        count = st.slider("Frames (evenly spaced)", 1, MAX_FRAMES, shown.frame_count, key="compare_count")
        if count != shown.frame_count:
            shown.frame_count = count
            _sample_again()
        uploaders.draw_clip("compare", _use_clip)
        forms.draw_problems(CLIP)
        for path in gallery.clips():
            st.button(f"Use {path.name}", on_click=_use_sample, args=(path,))
    if shown.attachments:
        _draw_shown()
        st.button("Clear", icon=":material/close:", type="tertiary", on_click=_clear)


def _draw_shown() -> None:
    shown = session().compare
    marks = [(time_text(f.timestamp_seconds, 2), f.sha256) for a in shown.attachments for f in a.frames]
    marks += [(a.name, a.sha256) for a in shown.attachments if a.kind == "image"]
    strip.draw("compare", [pictures.unsaved(shown.pictures[sha256], label, sha256) for label, sha256 in marks])
    for attachment in shown.attachments:
        for note in attachment.notes:
            st.caption(escape(note))


def _clear() -> None:
    shown = session().compare
    shown.attachments, shown.pictures, shown.clip = (), {}, None  # a clip that nobody sends is deleted after a day


def _add_pictures(files: list[tuple[bytes, str]]) -> None:
    """Add pictures to those shown. They take the place of a clip."""
    shown = session().compare
    attachments = [a for a in shown.attachments if a.kind == "image"]
    pictures = {a.sha256: shown.pictures[a.sha256] for a in attachments}
    before = len(attachments)
    forms.pressed(PICTURES)
    for data, name in files:
        try:
            picture = media.open_image(data, name)
        except LensError as error:
            forms.refuse(PICTURES, error)
            continue
        if picture.sha256 in pictures:
            forms.refuse(PICTURES, f"{name} is here already.")
        else:
            pictures[picture.sha256] = picture.image
            attachments.append(image_attachment(picture))
    if len(attachments) > before:  # a clip stays where no picture could be used
        _clear()
        shown.attachments, shown.pictures = tuple(attachments), pictures


def _use_sample(path: Path) -> None:
    with path.open("rb") as file:
        _use_clip(file, path.name)


def _use_clip(file: BinaryIO, name: str) -> None:
    forms.pressed(CLIP)
    try:
        workspace().refuse_if_full(uploaders.size_bytes(file))
        sha256 = workspace().store.media.add_file(file, name, "video/mp4")
    except LensError as error:
        forms.refuse(CLIP, error)
        return
    if not _sample(sha256, name):
        workspace().store.discard({sha256})


def _sample(sha256: str, name: str) -> bool:
    shown, path = session().compare, workspace().store.media.path(sha256)
    try:
        sampled = sample_clip(path, shown.frame_count)
    except LensError as error:
        forms.refuse(CLIP, str(error).replace(path.name, name))
        return False
    attachment, pngs = describe_clip(sha256, name, sampled)
    shown.pictures = {key: media.open_image(png, "frame.png").image for key, png in pngs.items()}
    shown.attachments, shown.clip = (attachment,), (sha256, name)
    return True


def _sample_again() -> None:
    if (clip := session().compare.clip) is not None:
        forms.pressed(CLIP)
        _sample(*clip)

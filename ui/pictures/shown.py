"""What a strip of thumbnails shows: pictures of the store, or pictures that are only in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from weakref import ref

from PIL import Image

from smolvlm_core import media
from smolvlm_core.errors import MediaError
from smolvlm_core.prompt.build import Slot
from smolvlm_core.prompt.messages import Attachment
from smolvlm_core.times import time_text
from ui.pictures import route
from ui.state import workspace

Open = Callable[[], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture of a strip.

    Attributes:
        key: its SHA-256, by which the browser asks for it. `unsaved` makes one that is not stored available.
        label: its name or its time, as plain text. `name`: for the viewer and for parts of it, where that says more.
        width, height: of the whole picture, in pixels.
        hidden: the model is no longer shown it.
    """

    key: str
    label: str
    width: int
    height: int
    hidden: bool = False
    name: str = ""

    def data(self) -> dict[str, Any]:
        """For `openPictures` in viewer.js."""
        return {
            "key": self.key,
            "label": self.label,
            "width": self.width,
            "height": self.height,
            "hidden": self.hidden,
            "name": self.name or self.label,
            "small": route.thumbnail_url(self.key),
            "whole": route.url_of(self.key),
        }


def of_picture(attachment: Attachment) -> Shown:
    """A stored picture."""
    return Shown(
        key=attachment.sha256,
        label=attachment.name,
        width=attachment.width,
        height=attachment.height,
        hidden=not attachment.shown,
    )


def of_frames(clip: Attachment) -> list[Shown]:
    """The stored frames of a clip, with their times."""
    return [
        Shown(
            key=frame.sha256,
            label=time_text(frame.timestamp_seconds, 2),
            width=clip.width,
            height=clip.height,
            hidden=not clip.shown,
            name=f"{clip.name} at {time_text(frame.timestamp_seconds, 2)}",
        )
        for frame in clip.frames
    ]


def of_slot(slot: Slot) -> Shown:
    """A picture of a prompt, which is stored."""
    return Shown(key=slot.sha256, label=slot.label, width=slot.width, height=slot.height)


def unsaved(image: Image.Image, label: str, key: str) -> Shown:
    """A picture in memory. It is not kept alive by this: whoever shows it holds it. `key`: its SHA-256."""
    held = ref(image)

    def open_it() -> Image.Image:
        if (found := held()) is None:
            raise MediaError("This picture is no longer in memory.", "Reload the page.")
        return found

    return unsaved_later(open_it, label, key, (image.width, image.height))


def unsaved_later(open_it: Open, label: str, key: str, size: tuple[int, int]) -> Shown:
    """A picture that is opened once someone looks at it. `size`: its width and height in pixels."""
    route.offer(workspace().folder, key, open_it)
    return Shown(key=key, label=label, width=size[0], height=size[1])


def of_file(path: Path) -> Shown:
    """A picture that comes with the app."""
    key, size = _file(path)
    return unsaved_later(lambda: media.open_image_file(path).image, path.name, key, size)


@cache
def _file(path: Path) -> tuple[str, tuple[int, int]]:
    """Its SHA-256 and size, read once."""
    with Image.open(path) as image:
        return media.sha256_of(path.read_bytes()), image.size

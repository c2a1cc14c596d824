"""One question about frames of a clip: about a single one as a picture, or about a few in a row. Does not know where frames come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from smolvlm_core import media
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message


@dataclass(frozen=True)
class Shot:
    """A frame of a clip. `number`: of the frame in the clip, where that is known."""

    seconds: float
    image: Image.Image
    number: int = 0


def picture_prompt(shot: Shot, question: str) -> Prompt:
    """One frame as a picture of one tile, as frames of clips are."""
    sha256 = _sha256(shot.image)
    width, height = shot.image.size
    attachment = Attachment(
        kind="image", sha256=sha256, name="frame", mime="image/png", width=width, height=height, tiled=False
    )
    return build_prompt([Message("user", question, (attachment,))], {sha256: shot.image}.__getitem__)


def clip_prompt(shots: Sequence[Shot], duration_seconds: float, question: str) -> Prompt:
    """A few frames in a row, as a clip of this length."""
    keys = [_sha256(shot.image) for shot in shots]
    images = dict(zip(keys, (shot.image for shot in shots)))
    width, height = shots[0].image.size
    attachment = Attachment(
        kind="video",
        sha256="",
        name="clip",
        mime="video/mp4",
        width=width,
        height=height,
        duration_seconds=duration_seconds,
        frames=tuple(FrameRef(shot.seconds, shot.number, key) for shot, key in zip(shots, keys)),
    )
    return build_prompt([Message("user", question, (attachment,))], images.__getitem__)


def _sha256(image: Image.Image) -> str:
    return media.sha256_of(f"{image.size}".encode() + image.tobytes())

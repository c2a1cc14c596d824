"""Stores uploaded media and describes them as attachments of a question.

Knows media, clips and the store. Does not know models or pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smolvlm_core import media
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import MediaError
from smolvlm_core.prompt.messages import Attachment, FrameRef
from smolvlm_core.video import SampledClip


def attach_image(store: Store, data: bytes, name: str) -> Attachment:
    """Check and store an image. Raises MediaError or StoreError."""
    picture = media.open_image(data, name)
    store.media.add(data, name, picture.mime)
    return image_attachment(picture)


def image_attachment(picture: media.Picture) -> Attachment:
    """Describe a decoded image as an attachment. Does not store it."""
    return Attachment(
        kind="image",
        sha256=picture.sha256,
        name=picture.name,
        mime=picture.mime,
        width=picture.width,
        height=picture.height,
        notes=picture.notes,
    )


def describe_clip(
    sha256: str,
    name: str,
    sampled: SampledClip,
    range_seconds: tuple[float, float] | None = None,
    strategy: str = "even",
    encoded: Mapping[float, bytes] | None = None,
) -> tuple[Attachment, dict[str, bytes]]:
    """Describe a clip and its sampled frames as an attachment. Does not store them.

    `sha256` identifies the clip. `encoded` maps timestamps in seconds to frames that are already encoded as PNG.

    Returns:
        The attachment, and the PNG of each frame by its SHA-256.
    """
    frames, pngs = [], {}
    for frame in sampled.frames:
        png = (encoded or {}).get(frame.timestamp_seconds) or media.png_bytes(frame.image)
        key = media.sha256_of(png)
        pngs[key] = png
        frames.append(FrameRef(frame.timestamp_seconds, frame.frame_index, key))
    width, height = sampled.frames[0].image.size
    attachment = Attachment(
        kind="video",
        sha256=sha256,
        name=name,
        mime="video/mp4",
        width=width,
        height=height,
        duration_seconds=sampled.facts.duration_seconds,
        range_seconds=range_seconds,
        frames=tuple(frames),
        decoder=sampled.facts.decoder,
        strategy=strategy,
        notes=sampled.notes,
    )
    return attachment, pngs


def store_frames(store: Store, pngs: dict[str, bytes]) -> None:
    for png in pngs.values():
        store.media.add(png, "frame.png", "image/png")


def save_frames(sampled: SampledClip, folder: Path) -> list[Path]:
    """Write one PNG per frame. File names (number, frame index, time) sort in order. Creates the folder if needed.

    Raises:
        MediaError: the folder cannot be created or written to.
    """
    paths = [
        folder / f"{number:04d}-frame{frame.frame_index:07d}-{frame.timestamp_seconds:.3f}s.png"
        for number, frame in enumerate(sampled.frames)
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, frame in zip(paths, sampled.frames):
            path.write_bytes(media.png_bytes(frame.image))
    except OSError as error:
        raise MediaError(
            f"{folder} cannot be written to: {error.strerror}.", "Check its permissions or choose another folder."
        ) from error
    return paths

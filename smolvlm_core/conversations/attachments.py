"""Bytes → media kept in the store → attachments of a question. Knows media, clips and the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smolvlm_core import media
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import MediaError
from smolvlm_core.prompt.messages import Attachment, FrameRef
from smolvlm_core.video import SampledClip


def attach_image(store: Store, data: bytes, name: str) -> Attachment:
    """Check and keep a picture. Raises MediaError or StoreError."""
    picture = media.open_image(data, name)
    store.media.add(data, name, picture.mime)
    return image_attachment(picture)


def image_attachment(picture: media.Picture) -> Attachment:
    """A decoded picture as an attachment of a question. Stores nothing."""
    return Attachment(
        "image", picture.sha256, picture.name, picture.mime, picture.width, picture.height, notes=picture.notes
    )


def describe_clip(
    sha256: str,
    name: str,
    sampled: SampledClip,
    range_seconds: tuple[float, float] | None = None,
    strategy: str = "even",
    known: Mapping[float, bytes] | None = None,
) -> tuple[Attachment, dict[str, bytes]]:
    """A clip kept under `sha256` with the frames taken from it, and those frames as PNG by SHA-256. Keeps nothing.
    `known`: PNGs by time that need not be made again."""
    frames, pngs = [], {}
    for frame in sampled.frames:
        png = (known or {}).get(frame.timestamp_seconds) or media.png_bytes(frame.image)
        key = media.sha256_of(png)
        pngs[key] = png
        frames.append(FrameRef(frame.timestamp_seconds, frame.frame_index, key))
    width, height = sampled.frames[0].image.size
    attachment = Attachment(
        "video",
        sha256,
        name,
        "video/mp4",
        width,
        height,
        duration_seconds=sampled.facts.duration_seconds,
        range_seconds=range_seconds,
        frames=tuple(frames),
        decoder=sampled.facts.decoder,
        strategy=strategy,
        notes=sampled.notes,
    )
    return attachment, pngs


def keep_frames(store: Store, pngs: dict[str, bytes]) -> None:
    for png in pngs.values():
        store.media.add(png, "frame.png", "image/png")


def save_frames(sampled: SampledClip, folder: Path) -> list[Path]:
    """One PNG a frame, named so that they sort in order: number, frame index, time. The folder is made where it is missing.

    Raises:
        MediaError: the folder cannot be made or written to.
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
        raise MediaError(f"{folder} cannot be written to: {error.strerror}.", "Choose another folder.") from error
    return paths

"""Bytes → media kept in the store → attachments of a question. Knows media, clips and the store."""

from __future__ import annotations

from smolvlm_core import media
from smolvlm_core.chat import Attachment, FrameRef
from smolvlm_core.store import Store
from smolvlm_core.video import SampledClip


def attach_image(store: Store, data: bytes, name: str) -> Attachment:
    """Check and keep a picture. Raises MediaError or StoreError."""
    picture = media.open_image(data, name)
    store.add_media(data, name, picture.mime)
    return Attachment("image", picture.sha256, name, picture.mime, picture.width, picture.height, notes=picture.notes)


def describe_clip(
    sha256: str, name: str, sampled: SampledClip, range_seconds: tuple[float, float] | None = None
) -> tuple[Attachment, dict[str, bytes]]:
    """A clip kept under `sha256` with the frames taken from it, and those frames as PNG by SHA-256. Keeps nothing."""
    frames, pngs = [], {}
    for frame in sampled.frames:
        png = media.png_bytes(frame.image)
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
        notes=sampled.notes,
    )
    return attachment, pngs


def keep_frames(store: Store, pngs: dict[str, bytes]) -> None:
    for png in pngs.values():
        store.add_media(png, "frame.png", "image/png")

"""The interface of a decoder, and what all decoders share. Does not know any particular one."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.video.clip import ClipFacts, Frame, LostFrame, PacketFacts, Pixels

Source = Path | bytes
MAX_FRAME_EDGE = 1024  # px; the largest tile of any SmolVLM2 is 512
MAX_PIXELS = 8192 * 4608  # slightly more than 8K: a damaged header can claim far more than fits in memory


class DecoderError(MediaError):
    """This decoder cannot read the file; another may."""


class SamplingCancelled(LensError):
    """The caller's cancel event was set."""

    def __init__(self) -> None:
        super().__init__("Sampling was cancelled.")


class Clip(Protocol):
    """An open clip, for one thread at a time. `notes`: what is unusual about the file."""

    facts: ClipFacts
    notes: tuple[str, ...]

    def frames_at(
        self, times_seconds: Sequence[float], max_edge: int = MAX_FRAME_EDGE, cancel: threading.Event | None = None
    ) -> Iterator[Frame | LostFrame]:
        """The frame on screen at each time. `times_seconds` must ascend. A frame that needed a second try may come after later
        ones. Frames are at most `max_edge` px wide and high. Raises SamplingCancelled."""

    def packets(self, cancel: threading.Event | None = None) -> Iterator[PacketFacts]:
        """Every compressed frame of the clip; none where the decoder does not report them. Raises SamplingCancelled."""

    def close(self) -> None: ...


def name_of(source: Source) -> str:
    return source.name if isinstance(source, Path) else "The clip"


def size_of(source: Source) -> int:
    return source.stat().st_size if isinstance(source, Path) else len(source)


def opened(source: Source) -> str | io.BytesIO:
    """What decoders read: a path, or the bytes as a file. No temporary file is written."""
    return (
        str(source.resolve()) if isinstance(source, Path) else io.BytesIO(source)
    )  # "12:30.mp4" alone would be a protocol


def check_pixels(source: Source, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{name_of(source)} claims frames of {width} × {height} pixels; the limit is {MAX_PIXELS / 1e6:.0f} megapixels.",
            "The file may be damaged. If not, scale it down first.",
        )


def check_cancelled(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise SamplingCancelled


def scaled_size(width: int, height: int, max_edge: int) -> tuple[int, int]:
    """Never enlarged, and at least one pixel."""
    scale = min(1.0, max_edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def scaled(pixels: Pixels, max_edge: int) -> Pixels:
    """(height, width, 3) → at most `max_edge` px a side."""
    height, width = pixels.shape[:2]
    size = scaled_size(width, height, max_edge)
    if size == (width, height):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))

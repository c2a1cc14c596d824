"""Facts about a clip and its frames: pure data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ClipFacts:
    """Read from the file.

    `width` and `height` are px as shown, after `rotation_degrees` (clockwise; None: the decoder does not report it) and with
    square pixels. Times count from the first frame, which is at `start_seconds` in the file. `fps` is the average.
    `last_frame_seconds` is when the last frame appears, `duration_seconds` when it disappears.
    """

    duration_seconds: float
    width: int
    height: int
    fps: float
    frame_count: int
    rotation_degrees: int | None = 0
    decoder: str = ""
    codec: str = ""
    size_bytes: int = 0
    start_seconds: float = 0.0
    last_frame_seconds: float = 0.0

    def describe(self) -> str:
        """In one line, for people."""
        minutes, seconds = divmod(self.duration_seconds, 60)
        length = f"{int(minutes)} min {seconds:.1f} s" if minutes else f"{seconds:.1f} s"
        turned = f" · rotated {self.rotation_degrees}°" if self.rotation_degrees else ""
        starts = f" · starts at {self.start_seconds:.2f} s" if abs(self.start_seconds) > 0.5 else ""
        megabytes = self.size_bytes / 1e6
        size = f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB"
        return (
            f"{length}{starts} · {self.width} × {self.height}{turned} · {self.fps:.4g} frames a second · "
            f"{self.frame_count} frames · {' '.join(filter(None, [self.codec, size]))} · read with {self.decoder}"
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """`pixels`: (height, width, 3), RGB. `damaged`: the decoder concealed missing parts."""

    timestamp_seconds: float
    frame_index: int
    pixels: Pixels
    decoder: str = ""
    damaged: bool = False

    @cached_property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)


@dataclass(frozen=True)
class LostFrame:
    """A frame that is in the file and cannot be decoded."""

    timestamp_seconds: float


@dataclass(frozen=True)
class PacketFacts:
    """One compressed frame: its time, its size, and whether it decodes on its own (a keyframe)."""

    timestamp_seconds: float
    size_bytes: int
    is_keyframe: bool


@dataclass(frozen=True)
class SampledClip:
    """The frames sampled from a clip, in order.

    `notes`: what was lost or unusual, in words. `file_notes` come first: they apply whatever frames are sampled.
    """

    facts: ClipFacts
    frames: tuple[Frame, ...]
    notes: tuple[str, ...] = ()
    file_notes: tuple[str, ...] = ()

"""Facts about a clip and its frames: pure data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smolvlm_core.times import time_text

Pixels = NDArray[np.uint8]

# Decoders name codecs after the code that reads them, or by the four letters in the file.
CODEC_NAMES = {
    **dict.fromkeys(("h264", "avc1", "x264"), "H.264"),
    **dict.fromkeys(("hevc", "h265", "hev1", "hvc1"), "HEVC"),
    **dict.fromkeys(("vp9", "vp90", "vp09"), "VP9"),
    **dict.fromkeys(("vp8", "vp80", "vp08"), "VP8"),
    **dict.fromkeys(("av1", "av01"), "AV1"),
    **dict.fromkeys(("mpeg4", "mp4v", "fmp4", "xvid", "divx", "dx50"), "MPEG-4"),
    **dict.fromkeys(("mpeg2video", "mpg2"), "MPEG-2"),
    **dict.fromkeys(("mpeg1video", "mpg1"), "MPEG-1"),
    **dict.fromkeys(("mjpeg", "mjpg"), "Motion JPEG"),
    "gif": "GIF",
    "prores": "ProRes",
    "h263": "H.263",
    "theora": "Theora",
    "ffv1": "FFV1",
    "vc1": "VC-1",
    "wmv3": "WMV 9",
    "rawvideo": "Uncompressed",
}


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
        """In one line, for people: "H.264 · 12 KB · 60:00 · 160 × 96 px · 25 fps"."""
        length = time_text(round(self.duration_seconds, 1 if self.duration_seconds < 60 else 0))
        codec = CODEC_NAMES.get(self.codec.lower(), self.codec)
        parts = [codec, _file_size(self.size_bytes), length, f"{self.width} × {self.height} px", f"{self.fps:.4g} fps"]
        return " · ".join(filter(None, parts))

    def details(self) -> tuple[str, ...]:
        """What `describe` leaves out, one fact a line."""
        return (
            f"{self.frame_count:,} frame{'' if self.frame_count == 1 else 's'}",
            *([f"rotated {self.rotation_degrees}°"] if self.rotation_degrees else []),
            *([f"starts at {self.start_seconds:.2f} s of the file"] if abs(self.start_seconds) > 0.5 else []),
            f"read with {self.decoder}",
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


def _file_size(size_bytes: int) -> str:
    """As file managers show it: 1 KB is 1,000 bytes."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.{1 if size_bytes < 10 * unit else 0}f} {name}"
    return f"{size_bytes / 1000:.0f} KB" if size_bytes >= 1000 else f"{size_bytes} bytes" if size_bytes else ""

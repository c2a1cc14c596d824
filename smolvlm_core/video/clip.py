"""What is known of a clip and of its frames: pure data."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class ClipFacts:
    """Read from the file: `width` and `height` in px as shown (after `rotation_degrees`), `fps` on average."""

    duration_seconds: float
    width: int
    height: int
    fps: float
    frame_count: int
    rotation_degrees: int = 0
    decoder: str = ""


@dataclass(frozen=True)
class Frame:
    timestamp_seconds: float
    frame_index: int
    image: Image.Image


@dataclass(frozen=True)
class SampledClip:
    """The frames taken from a clip, in order. `notes` tell in words what was lost or odd."""

    facts: ClipFacts
    frames: tuple[Frame, ...]
    notes: tuple[str, ...] = ()

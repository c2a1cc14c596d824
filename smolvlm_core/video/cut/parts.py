"""What a cut has, and how it differs from what was asked for. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smolvlm_core.errors import MediaError
from smolvlm_core.times import Range, time_text

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
EXACT_HINT = "Choose an exact cut, which encodes the frames again."
NOTICEABLE_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of a cut. Seconds of the original, but `at_seconds`, where it begins in the new file.

    `wanted`: the ranges it was made for. `start_seconds` and `end_seconds`: what it shows.
    """

    wanted: tuple[Range, ...]
    start_seconds: float
    end_seconds: float
    at_seconds: float = 0.0

    @property
    def earlier_seconds(self) -> float:
        """How much it shows before what was wanted."""
        return max(0.0, self.wanted[0][0] - self.start_seconds)

    @property
    def later_seconds(self) -> float:
        """How much it shows after what was wanted."""
        return max(0.0, self.end_seconds - max(end for _, end in self.wanted))

    def describe(self) -> str:
        """In one line, for people: "0:12–0:20: begins 1.5 s earlier, at the keyframe at 0:10.5"."""
        ranges = " and ".join(f"{time_text(start)}–{time_text(end)}" for start, end in self.wanted)
        parts = []
        if self.earlier_seconds > NOTICEABLE_SECONDS:
            at = time_text(self.start_seconds)
            parts.append(f"begins {self.earlier_seconds:.2f} s earlier, at the keyframe at {at}")
        if self.later_seconds > NOTICEABLE_SECONDS:
            parts.append(f"ends {self.later_seconds:.2f} s later")
        if len(self.wanted) > 1:
            parts.append("one piece, since they need the same frames")
        return f"{ranges}: {', '.join(parts) or 'exact'}"


@dataclass(frozen=True, kw_only=True)
class CutClip:
    """What a cut has. `notes`: what is unusual or was left out, in words."""

    parts: tuple[Part, ...]
    exact: bool
    notes: tuple[str, ...] = ()

    @property
    def duration_seconds(self) -> float:
        return sum(part.end_seconds - part.start_seconds for part in self.parts)

    def describe(self) -> tuple[str, ...]:
        """One line a part, then the notes."""
        return (*(part.describe() for part in self.parts), *self.notes)


def format_of(target: Path) -> str:
    """FFmpeg's name of the format of a file. Raises MediaError."""
    found = FORMATS.get(target.suffix.lower())
    if found is None:
        raise MediaError(f"“{target.suffix}” is no format for a cut.", f"Use one of {', '.join(FORMATS)}.")
    return found

"""Times in a clip, as people read and type them: minutes and seconds. Does not know clips.

The minutes are not folded into hours, as in the prompts of SmolVLM2 ("Frame from 75:30"). Hours can be typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from smolvlm_core.errors import LensError

Range = tuple[float, float]  # seconds

_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,5}):)?(\d{1,7}(?:[.,]\d{0,9})?)\s*s?", re.ASCII)
_DASH = re.compile(r"\s*[-–—]\s*")
_HINT = "Write minutes and seconds, such as 12:30."
_ROUNDED_SECONDS = 0.006  # what is shown has two decimals, and people type what they see


class TimeError(LensError):
    """A text is not a time, or not a range of times."""


@dataclass(frozen=True)
class TypedRange:
    """What two fields ask for. Errors are empty where a field is right. `seconds`: the range to use, errors left out."""

    seconds: Range
    start_error: str = ""
    end_error: str = ""


def time_text(seconds: float, decimals: int | None = None) -> str:
    """750.0 → "12:30". `decimals`: of the seconds; None: two at most, without zeros at the end."""
    places = 2 if decimals is None else decimals
    whole, part = divmod(round(max(0.0, seconds) * 10**places), 10**places)
    fraction = f".{part:0{places}d}" if places else ""
    if decimals is None:
        fraction = fraction.rstrip("0").rstrip(".")
    return f"{whole // 60}:{whole % 60:02d}{fraction}"


def length_text(seconds: float) -> str:
    """How long something lasts: "3.5 s", and "12:30" from a minute on."""
    return f"{seconds:.1f} s" if round(seconds, 1) < 60 else time_text(seconds, 0)


def duration_text(seconds: float) -> str:
    """How long something will take: "35 s", "2 min 05 s", "1 h 04 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def parse_time(text: str) -> float:
    """Seconds of "12:30", "1:02:03.5" or "750". Raises TimeError."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise TimeError(f"“{_quoted(text)}” is not a time.", _HINT)
    hours, minutes, seconds = found[1], found[2], float(found[3].replace(",", "."))
    if minutes is not None and seconds >= 60:
        raise TimeError(f"“{_quoted(text)}” has more than 59 seconds after the colon.", _HINT)
    if hours is not None and int(minutes) >= 60:
        raise TimeError(f"“{_quoted(text)}” has more than 59 minutes after the hours.", "Write 1:02:03 or 62:03.")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + seconds


def parse_range(text: str) -> Range:
    """The start and end of "12:30-13:00" in seconds. Raises TimeError."""
    parts = _DASH.split(text.strip())
    if len(parts) != 2:
        raise TimeError(f"“{_quoted(text)}” is not a range.", "Write a start and an end, such as 12:30-13:00.")
    start, end = parse_time(parts[0]), parse_time(parts[1])
    if start > end:
        raise TimeError(f"“{_quoted(text)}” ends before it starts.", "Write the earlier time first.")
    return start, end


def typed_range(start: str, end: str, current: Range, duration_seconds: float) -> TypedRange:
    """The range of two fields, where `current` is the one in use. An empty start is the clip's start, an empty end its end.

    A field that is wrong does not change its side of the range.
    """
    first, start_error = _typed(start, current[0], 0.0, duration_seconds)
    last, end_error = _typed(end, current[1], duration_seconds, duration_seconds)
    if first <= last:
        return TypedRange((first, last), start_error, end_error)
    if first != current[0]:
        start_error = start_error or f"The start is after the end ({time_text(last)})."
    if last != current[1]:
        end_error = end_error or f"The end is before the start ({time_text(first)})."
    return TypedRange(current, start_error, end_error)


def _typed(text: str, current: float, empty: float, duration_seconds: float) -> tuple[float, str]:
    """The time of one field, `current` where there is an error, and the error."""
    if text.strip() == time_text(current):
        return current, ""  # what is shown is rounded
    try:
        value = parse_time(text) if text.strip() else empty
    except TimeError as error:
        return current, str(error)
    if value > duration_seconds + _ROUNDED_SECONDS:
        return current, f"The clip ends at {time_text(duration_seconds)}."
    return min(value, duration_seconds), ""


def _quoted(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 24 else f"{text[:23]}…"

"""Chapters: the list that video sites take from a description, WebVTT chapters, and FFmpeg's metadata file.

Chapters are the longest segments: where the timeline has two levels, those that are refined by others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from smolvlm_core.timeline.export.content import Content, one_line
from smolvlm_core.timeline.export.cues import clock, spans_of
from smolvlm_core.timeline.export.subtitles import escaped
from smolvlm_core.timeline.records import Segment

MAX_TITLE = 100  # characters
# What YouTube asks for; with less, it shows no chapters. https://support.google.com/youtube/answer/9884579
FEWEST, SHORTEST_SECONDS = 3, 10
_BRACKETS = str.maketrans("<>", "‹›")  # YouTube refuses a description that has < or >
_SENTENCE = re.compile(r"(.+?[.!?。！？])(?:\s|$)")


def to_list(content: Content) -> tuple[str, list[str]]:
    """(lines such as "1:02 A dog runs", what a video site may refuse)."""
    notes: list[str] = []
    lines: dict[int, str] = {}
    for number, segment in enumerate(content.chapters, start=1):
        lines.setdefault(int(segment.start_seconds), _title(segment, number).translate(_BRACKETS))
    if lines and min(lines) > 0:
        lines = {0: "Start", **lines}
    if (same := len(content.chapters) - len(lines)) > 0:
        notes.append(f"{same} chapters that begin in the same second as another are left out")
    starts = sorted(lines)
    end = max((segment.end_seconds for segment in content.chapters), default=0.0)
    if len(starts) < FEWEST:
        notes.append(f"YouTube shows chapters from {FEWEST} on; there are {len(starts)}")
    elif min(b - a for a, b in zip(starts, [*starts[1:], end])) < SHORTEST_SECONDS:
        notes.append(f"YouTube shows no chapters where one is shorter than {SHORTEST_SECONDS} s")
    long = end >= 3600
    return "".join(f"{_short_clock(start, long)} {lines[start]}\n" for start in starts), notes


def to_vtt_chapters(content: Content) -> tuple[str, list[str]]:
    """(a WebVTT file for `<track kind="chapters">`, nothing)."""
    blocks = ["WEBVTT"]
    for number, (start, end, title) in enumerate(_spans(content.chapters), start=1):
        blocks.append(f"{number}\n{clock(start, '.')} --> {clock(end, '.')}\n{escaped(title)}")
    return "\n\n".join(blocks) + "\n", []


def to_ffmetadata(content: Content) -> tuple[str, list[str]]:
    """(a file that `ffmpeg -i clip.mp4 -i chapters.txt -map_chapters 1` reads, nothing)."""
    blocks = [";FFMETADATA1", f"title={_ff(one_line(content.timeline.title))}"]
    for start, end, title in _spans(content.chapters):
        blocks.append(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={_ff(title)}")
    return "\n".join(blocks) + "\n", []


def _spans(chapters: Sequence[Segment]) -> list[tuple[int, int, str]]:
    """(start, end, title) in milliseconds: none over another, none empty."""
    return [
        (start, end, _title(segment, number))
        for number, ((start, end), segment) in enumerate(zip(spans_of(chapters), chapters), start=1)
    ]


def _title(segment: Segment, number: int) -> str:
    """The first sentence of the description."""
    text = one_line(segment.caption)
    found = _SENTENCE.match(text)
    title = (found[1] if found else text).rstrip(".。") or f"Part {number}"
    return title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1].rstrip()}…"


def _short_clock(seconds: int, long: bool) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if long else f"{minutes}:{seconds:02}"


def _ff(text: str) -> str:
    return re.sub(r"([=;#\\\n])", r"\\\1", text)

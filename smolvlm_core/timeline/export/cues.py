"""When each description is shown: cues that no player refuses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smolvlm_core.timeline.export.content import lines_of
from smolvlm_core.timeline.records import Segment


@dataclass(frozen=True)
class Cue:
    """Milliseconds. `lines`: at least one, none empty."""

    start: int
    end: int
    lines: tuple[str, ...]
    segment: Segment


def cues_of(segments: Sequence[Segment]) -> list[Cue]:
    """Of the segments that have a description: by time, none over another, and each at least a millisecond long."""
    shown = [(segment, lines) for segment in segments if (lines := tuple(lines_of(segment.caption)))]
    shown.sort(key=lambda one: (one[0].start_seconds, one[0].end_seconds))
    spans = spans_of([segment for segment, _ in shown])
    return [Cue(start, end, lines, segment) for (start, end), (segment, lines) in zip(spans, shown)]


def spans_of(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """(start, end) in milliseconds of segments by time: none over another, and each at least a millisecond long."""
    starts: list[int] = []
    for segment in segments:
        start = max(0, round(segment.start_seconds * 1000))
        starts.append(max(start, starts[-1] + 1) if starts else start)
    ends = [max(round(segment.end_seconds * 1000), start + 1) for segment, start in zip(segments, starts)]
    return [(start, min(end, following)) for start, end, following in zip(starts, ends, [*starts[1:], *ends[-1:]])]


def clock(milliseconds: int, separator: str) -> str:
    """00:01:02.345. Hours have more than two digits where they must."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{rest:03}"

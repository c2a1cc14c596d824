"""The frames of an export as JPEGs, one after another: the clip is opened once, and few frames are in memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smolvlm_core import media
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.timeline.export.content import Content
from smolvlm_core.timeline.records import Segment
from smolvlm_core.video import Frame, open_clip
from smolvlm_core.work.report import Report


@dataclass(frozen=True)
class Shown:
    """`jpeg`: None where there is none any more. `is_small`: the stored thumbnail."""

    segment: Segment
    position: int
    jpeg: bytes | None
    is_small: bool = False


def shown_frames(content: Content, max_edge: int, report: Report, cancel: threading.Event | None) -> Iterator[Shown]:
    """Each frame that the model was shown, from the clip where it is there, else as it was stored; in any order.

    Raises:
        SamplingCancelled: `cancel` was set.
    """
    wanted = [(segment, position) for segment in content.leaves for position in range(len(segment.frames))]
    missing = {(segment.identity, position): (segment, position) for segment, position in wanted}
    if content.clip is not None:
        for shown in _decoded(content.clip, wanted, max_edge, cancel):
            missing.pop((shown.segment.identity, shown.position), None)
            yield shown
            report(f"Frame {len(wanted) - len(missing):,} of {len(wanted):,}", 1 - len(missing) / max(1, len(wanted)))
    for segment, position in missing.values():
        yield _stored(content, segment, position, max_edge)


def _decoded(
    clip: Path, wanted: list[tuple[Segment, int]], max_edge: int, cancel: threading.Event | None
) -> Iterator[Shown]:
    waiting: dict[float, list[tuple[Segment, int]]] = defaultdict(list)
    for one in sorted(wanted, key=_time_of):
        waiting[_time_of(one)].append(one)
    try:
        opened = open_clip(clip)
    except MediaError:
        return
    try:
        for frame in opened.frames_at(list(waiting), max_edge, cancel):
            found = waiting.get(_rounded(frame.timestamp_seconds), [])
            if isinstance(frame, Frame) and found:
                jpeg = media.jpeg_bytes(frame.image)
                yield from (Shown(segment, position, jpeg) for segment, position in found)
    finally:
        opened.close()


def _time_of(one: tuple[Segment, int]) -> float:
    return _rounded(one[0].frames[one[1]].timestamp_seconds)


def _rounded(seconds: float) -> float:
    """The same frame has the same time, whoever computed it."""
    return round(seconds, 5)


def _stored(content: Content, segment: Segment, position: int, max_edge: int) -> Shown:
    if content.picture is not None:
        try:
            image = content.picture(segment.identity, position)
            return Shown(segment, position, media.jpeg_bytes(media.thumbnail(image, max_edge)))
        except LensError:
            pass
    return Shown(segment, position, content.thumbnail(segment.identity, position), is_small=True)

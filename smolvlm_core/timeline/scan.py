"""How much the picture of a clip changes, and when: small frames at the likely moments, one clip at a time in bounded memory.

Knows decoders and the choice of times. Does not know where a clip is cut.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smolvlm_core.errors import MediaError
from smolvlm_core.timeline.segments import Change, scene_changes
from smolvlm_core.video import open_clip
from smolvlm_core.video.clip import ClipFacts, LostFrame
from smolvlm_core.video.decoders import Source
from smolvlm_core.video.decoders.base import Clip
from smolvlm_core.video.sampling import CANDIDATE_EDGE
from smolvlm_core.video.strategies import candidate_times

LOOKS = 1200  # frames that are compared at most, whatever the length of the clip
LOOKS_PER_SECOND = 2.0
LEAST_LOOKS = 48
LOOK_SIZE = (16, 16)  # px, to compare
MOST_REFINED = 300  # changes whose first frame is looked for
ROUNDS = 6  # of halving the time in which a change happens


@dataclass(frozen=True, kw_only=True)
class Scan:
    """`looked_at`: frames that were compared."""

    facts: ClipFacts
    changes: tuple[Change, ...]
    looked_at: int
    notes: tuple[str, ...] = ()


def scan(source: Source, progress: Callable[[int, int], None], cancel: threading.Event) -> Scan:
    """Compare frames at the moments at which something may have changed, and find the first frame after each great change.

    Raises:
        MediaError: the clip cannot be read.
        SamplingCancelled: `cancel` was set.
    """
    clip = open_clip(source)
    try:
        facts, notes = clip.facts, list(clip.notes)
        packets = list(clip.packets(cancel))
        if not packets:
            notes.append(f"{facts.decoder} does not report where a clip changes, so evenly spaced frames were compared")
        limit = int(max(LEAST_LOOKS, min(LOOKS, LOOKS_PER_SECOND * facts.duration_seconds)))
        times = candidate_times(packets, 0.0, facts.last_frame_seconds, limit)
        del packets
        looks, lost = _looks(clip, times, cancel, lambda done: progress(done, len(times)))
        if not looks:
            raise MediaError(
                f"None of {len(times)} frames of the clip can be decoded.", "Save or convert the clip again."
            )
        if lost:
            notes.append(f"{lost} of {len(times)} frames that were compared are too damaged to decode")
        changes = _first_frames(clip, _differences(looks), 1 / facts.fps, cancel)
    finally:
        clip.close()
    return Scan(facts=facts, changes=tuple(changes), looked_at=len(times), notes=tuple(notes))


@dataclass(frozen=True)
class _Look:
    """A frame, small: (height, width, 3)."""

    seconds: float
    pixels: NDArray[np.float64]

    def differs_by(self, other: _Look) -> float:
        return float(np.abs(self.pixels - other.pixels).mean())


def _looks(
    clip: Clip, times: Sequence[float], cancel: threading.Event, progress: Callable[[int], None] = lambda done: None
) -> tuple[list[_Look], int]:
    """(each frame on screen at one of the times, in order; how many cannot be decoded)"""
    found: dict[float, _Look] = {}
    lost = 0
    for done, frame in enumerate(clip.frames_at(times, CANDIDATE_EDGE, cancel), start=1):
        progress(done)
        if isinstance(frame, LostFrame):
            lost += 1
        else:
            small = Image.fromarray(frame.pixels).resize(LOOK_SIZE, Image.Resampling.BOX)
            found[frame.timestamp_seconds] = _Look(frame.timestamp_seconds, np.asarray(small, dtype=np.float64))
    return [found[time] for time in sorted(found)], lost


def _differences(looks: Sequence[_Look]) -> list[tuple[_Look, _Look, Change]]:
    return [(a, b, Change(b.seconds, b.differs_by(a))) for a, b in pairwise(looks)]


def _first_frames(
    clip: Clip, found: Sequence[tuple[_Look, _Look, Change]], frame_seconds: float, cancel: threading.Event
) -> list[Change]:
    """The changes in order. Those that stand out get the time of the first frame that is more like the one after than the one before."""
    great = sorted(scene_changes([change for _, _, change in found]), key=lambda c: -c.level)[:MOST_REFINED]
    spans = {change: (before, after) for before, after, change in found if change in great}
    for _ in range(ROUNDS):
        wide = {c: (a, b) for c, (a, b) in spans.items() if b.seconds - a.seconds > 1.5 * frame_seconds}
        if not wide:
            break
        middles = {c: (a.seconds + b.seconds) / 2 for c, (a, b) in wide.items()}
        looks, _ = _looks(clip, sorted(middles.values()), cancel)
        for change, (before, after) in wide.items():
            between = [x for x in looks if before.seconds < x.seconds < after.seconds]
            if not between:
                continue
            look = between[0]
            nearer = look.differs_by(before) < look.differs_by(after)
            spans[change] = (look, after) if nearer else (before, look)
    moved = {change: replace(change, seconds=after.seconds) for change, (_, after) in spans.items()}
    return sorted((moved.get(change, change) for _, _, change in found), key=lambda c: c.seconds)

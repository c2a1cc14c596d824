"""Where a clip is cut: pure functions over how much the picture changes. Does not know files or models.

Where the budget does not reach for segments as short as wanted, the cut is coarse first: windows of one length over the whole clip,
then parts of those in which most happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from smolvlm_core.timeline.records import Cut

MIN_SECONDS = 0.5  # shorter parts belong to the one before
CUT_LEVEL = 3.0  # grey levels of 255, on average over the picture: less is no change of scene
COARSE_SHARE = 0.4  # of the segments, where the budget does not reach
MOST_CUTS = 3  # times as many segments as their longest length asks for: the strongest changes win
MOST_PARTS = 8  # that a window is cut into
SNAP = 0.35  # of a window's length: how far its border moves to the strongest change


@dataclass(frozen=True)
class Change:
    """How much the picture differs from the one looked at before: grey levels of 255, averaged over the picture."""

    seconds: float
    level: float


@dataclass(frozen=True)
class Piece:
    """A part of a clip. `parent`: the index of the piece that it refines, among the pieces before it."""

    start_seconds: float
    end_seconds: float
    parent: int | None = None

    @property
    def length_seconds(self) -> float:
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a timeline will cost at most, before anything is looked at.

    `segments`: those that are asked about. `longest_seconds`: of a segment whose clip is cut no finer. `is_coarse`: the budget
    does not reach for segments as short as wanted. `is_longer`: so all are longer than wanted.
    """

    segments: int
    frames: int
    longest_seconds: float
    is_coarse: bool
    is_longer: bool = False

    def describe(self) -> str:
        """One sentence, for people."""
        text = f"At most {self.segments:,} segment{'' if self.segments == 1 else 's'} and {self.frames:,} frames"
        if self.is_longer:
            return f"{text}. The budget does not reach for shorter ones: each takes {_length(self.longest_seconds)}."
        if not self.is_coarse:
            return f"{text}."
        return (
            f"{text}. The budget does not reach for shorter ones everywhere: segments of about {_length(self.longest_seconds)} first, "
            "then shorter ones where the picture changes most."
        )


def estimate(duration_seconds: float, cut: Cut) -> Estimate:
    """What `cut_up` makes at most."""
    most = cut.budget // cut.frames
    wanted = max(1, math.ceil(duration_seconds / cut.seconds - 1e-9))
    if cut.mode == "fixed":
        count = min(most, wanted)
        longest = max(cut.seconds, duration_seconds / count) if count < wanted else cut.seconds
        return Estimate(
            segments=count,
            frames=count * cut.frames,
            longest_seconds=longest,
            is_coarse=False,
            is_longer=count < wanted,
        )
    if wanted <= most:
        count = min(most, max(wanted, min(MOST_CUTS * wanted, int(duration_seconds / MIN_SECONDS))))
        return Estimate(segments=count, frames=count * cut.frames, longest_seconds=cut.seconds, is_coarse=False)
    windows = max(1, int(most * COARSE_SHARE))
    return Estimate(segments=most, frames=most * cut.frames, longest_seconds=duration_seconds / windows, is_coarse=True)


def cut_up(duration_seconds: float, changes: Sequence[Change], cut: Cut) -> list[Piece]:
    """The pieces of a clip, in the order in which they are asked about. Those that no other refines cover it, each moment once."""
    plan = estimate(duration_seconds, cut)
    if cut.mode == "fixed":
        return _evenly(duration_seconds, plan.segments, max(cut.seconds, plan.longest_seconds))
    changes = [change for change in changes if MIN_SECONDS <= change.seconds <= duration_seconds - MIN_SECONDS]
    if not plan.is_coarse:
        return _at_changes(Piece(0.0, duration_seconds), changes, cut.seconds, plan.segments)
    windows = _windows(duration_seconds, changes, _window_count(plan.segments))
    return [*windows, *_parts(windows, changes, cut.seconds, plan.segments - len(windows))]


def scene_changes(changes: Sequence[Change]) -> list[Change]:
    """Those that stand out: above CUT_LEVEL, and far above what is usual in this clip."""
    if not changes:
        return []
    levels = np.array([change.level for change in changes])
    usual = float(np.median(levels))
    spread = float(np.median(np.abs(levels - usual)))
    least = max(CUT_LEVEL, usual + 6 * spread)
    return [change for change in changes if change.level >= least]


def _evenly(duration_seconds: float, count: int, seconds: float) -> list[Piece]:
    borders = [min(duration_seconds, i * seconds) for i in range(count)] + [duration_seconds]
    pieces = [Piece(a, b) for a, b in pairwise(borders)]
    if len(pieces) > 1 and pieces[-1].length_seconds < MIN_SECONDS:
        pieces[-2:] = [Piece(pieces[-2].start_seconds, duration_seconds)]
    return pieces


def _at_changes(whole: Piece, changes: Sequence[Change], seconds: float, most: int) -> list[Piece]:
    """Cut at scene changes, the strongest first where they are too many, and then so that no piece is longer than `seconds`."""
    borders = [whole.start_seconds, whole.end_seconds]
    least = _least_count(borders, seconds)
    for change in sorted(scene_changes(changes), key=lambda c: -c.level):
        if min(abs(change.seconds - border) for border in borders) < MIN_SECONDS:
            continue
        tried = sorted([*borders, change.seconds])
        if _least_count(tried, seconds) > max(most, least):
            break
        borders = tried
    pieces: list[Piece] = []
    for start, end in pairwise(borders):
        count = max(1, math.ceil((end - start) / seconds - 1e-9))
        pieces += [
            Piece(start + (end - start) * i / count, start + (end - start) * (i + 1) / count, whole.parent)
            for i in range(count)
        ]
    return pieces


def _least_count(borders: Sequence[float], seconds: float) -> int:
    return sum(max(1, math.ceil((b - a) / seconds - 1e-9)) for a, b in pairwise(borders))


def _window_count(most: int) -> int:
    """Of `most` segments; all where too few are left to refine any."""
    count = max(1, int(most * COARSE_SHARE))
    return count if most - count >= 2 else most


def _windows(duration_seconds: float, changes: Sequence[Change], count: int) -> list[Piece]:
    """Of about one length each; borders move to the strongest change nearby."""
    length = duration_seconds / count
    borders = [0.0]
    for i in range(1, count):
        near = [c for c in changes if abs(c.seconds - i * length) <= SNAP * length]
        strongest = max(near, key=lambda c: c.level, default=None)
        is_one = strongest is not None and strongest.level >= CUT_LEVEL
        borders.append(strongest.seconds if strongest is not None and is_one else i * length)
    return [Piece(a, b) for a, b in zip(borders, [*borders[1:], duration_seconds])]


def _parts(windows: Sequence[Piece], changes: Sequence[Change], seconds: float, most: int) -> list[Piece]:
    """Parts of the windows in which most happens, `most` in all."""
    happens = _activity(windows, changes)
    parts: list[Piece] = []
    for index in np.argsort(-happens, kind="stable"):
        window, left = windows[int(index)], most - len(parts)
        if happens[index] <= 0 or left < 2:
            break
        count = min(left, MOST_PARTS, math.ceil(window.length_seconds / seconds - 1e-9))
        if count < 2:
            continue
        inside = [c for c in changes if window.start_seconds < c.seconds < window.end_seconds]
        parts += _cut_into(replace(window, parent=int(index)), inside, count)
    return parts


def _cut_into(window: Piece, changes: Sequence[Change], count: int) -> list[Piece]:
    """`count` parts at most: at its strongest changes, then in the middle of the longest parts."""
    borders = [window.start_seconds, window.end_seconds]
    for change in sorted(scene_changes(changes), key=lambda c: -c.level):
        if len(borders) > count:
            break
        if min(abs(change.seconds - border) for border in borders) >= MIN_SECONDS:
            borders = sorted([*borders, change.seconds])
    while len(borders) <= count:
        gaps = np.diff(borders)
        longest = int(gaps.argmax())
        if gaps[longest] < 2 * MIN_SECONDS:
            break
        borders.insert(longest + 1, (borders[longest] + borders[longest + 1]) / 2)
    return [Piece(a, b, window.parent) for a, b in pairwise(borders)]


def _activity(windows: Sequence[Piece], changes: Sequence[Change]) -> NDArray[np.float64]:
    """(windows): the strongest change in each, and a part of the sum of all of them."""
    found = np.zeros(len(windows))
    for index, window in enumerate(windows):
        levels = [c.level for c in changes if window.start_seconds < c.seconds < window.end_seconds]
        if levels:
            found[index] = max(levels) + 0.1 * sum(levels)
    return found


def _length(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"

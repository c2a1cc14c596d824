"""Clip and request → frames: times from a strategy, pixels from a decoder, and notes on what was lost."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from smolvlm_core.errors import MediaError
from smolvlm_core.times import time_text
from smolvlm_core.video.clip import ClipFacts, Frame, LostFrame, SampledClip
from smolvlm_core.video.decoders import Clip, Source, open_with_each
from smolvlm_core.video.decoders.base import MAX_FRAME_EDGE, DecoderError, name_of
from smolvlm_core.video.strategies import candidate_times, evenly_spaced_times, most_different

FrameProgress = Callable[[int, int], None]
Count = int | Callable[[ClipFacts], int]  # a number, or a function of the clip's facts
Strategy = Literal["even", "scenes"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
CANDIDATE_EDGE = 64  # px: candidates are compared at this size
CANDIDATES_PER_FRAME, MIN_CANDIDATES = 3, 48


@dataclass(frozen=True)
class FrameRequest:
    """The frames to sample: those on screen at `times_seconds`, or `count` chosen by `strategy` within the range.

    Raises:
        ValueError: `count` under 1, an unknown strategy, or times below zero.
    """

    count: Count = 1
    strategy: Strategy = "even"
    range_seconds: tuple[float, float] | None = None
    times_seconds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not callable(self.count) and self.count < 1:
            raise ValueError(f"count is {self.count}; at least 1 is needed")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy is {self.strategy!r}; it is one of {', '.join(STRATEGIES)}")
        if self.times_seconds is not None and (not self.times_seconds or min(self.times_seconds) < 0):
            raise ValueError(f"times are {self.times_seconds}; at least one is needed, none below 0")


def sample_clip(
    source: Source,
    count: Count,
    range_seconds: tuple[float, float] | None = None,
    strategy: Strategy = "even",
    *,
    max_edge: int = MAX_FRAME_EDGE,
    cancel: threading.Event | None = None,
    progress: FrameProgress | None = None,
) -> SampledClip:
    """Sample `count` frames of a clip (a path or its bytes), fewer where it has fewer. Thread-safe.

    `count` may be a function of the clip's facts. `range_seconds`: only frames on screen from the first to the second time.
    `max_edge`: px; frames are scaled down to it while they are decoded. `progress(done, of)` is called as frames are decoded.

    Raises:
        MediaError: the clip cannot be read, or the range lies outside it.
        SamplingCancelled: `cancel` was set.
        ValueError: `count` is under 1, or the strategy is unknown.
    """
    return _sample(source, FrameRequest(count, strategy, range_seconds), max_edge, cancel, progress)


def take_frames(
    source: Source,
    times_seconds: Sequence[float],
    *,
    max_edge: int = MAX_FRAME_EDGE,
    cancel: threading.Event | None = None,
    progress: FrameProgress | None = None,
) -> SampledClip:
    """Sample the frames on screen at the given times, in order, each once. Raises the same as `sample_clip`."""
    request = FrameRequest(len(times_seconds), times_seconds=tuple(times_seconds))
    return _sample(source, request, max_edge, cancel, progress)


def damage_notes(frames: Sequence[Frame], lost_seconds: Sequence[float] = ()) -> list[str]:
    """Notes on damaged frames."""
    notes = [f"{_listed(lost_seconds)} left out: too damaged to decode"] if lost_seconds else []
    damaged = [frame.timestamp_seconds for frame in frames if frame.damaged]
    return [*notes, f"{_listed(damaged)} damaged: the decoder concealed missing parts"] if damaged else notes


def _sample(
    source: Source, request: FrameRequest, max_edge: int, cancel: threading.Event | None, progress: FrameProgress | None
) -> SampledClip:
    """Sample with the first decoder that reads the file. A damaged frame is not tried with another decoder, which may return a
    neighbouring frame instead."""
    failed: list[str] = []
    for clip in open_with_each(source):
        try:
            sampled = _sample_open(clip, request, max_edge, cancel, progress, failed)
        except DecoderError as error:
            failed.append(str(error))
        else:
            if not sampled.frames:
                notes = "; ".join(sampled.notes)
                raise MediaError(
                    f"None of these frames of {name_of(source)} can be decoded ({notes}).", "Choose other frames."
                )
            return sampled
        finally:
            clip.close()
    raise AssertionError("open_with_each raises at its end")


def _sample_open(
    clip: Clip,
    request: FrameRequest,
    max_edge: int,
    cancel: threading.Event | None,
    progress: FrameProgress | None,
    failed: Sequence[str],
) -> SampledClip:
    file_notes = (*failed, *clip.notes)
    notes: list[str] = []
    tried = 0
    count = request.count(clip.facts) if callable(request.count) else request.count
    if request.times_seconds is not None:
        times = sorted(request.times_seconds)
    elif request.strategy == "scenes":
        times, tried = _scene_times(clip, request.range_seconds, count, cancel, progress, notes)
    else:
        times = evenly_spaced_times(*_range_within(clip.facts, request.range_seconds), count)

    def step(done: int, of: int) -> None:
        if progress is not None:
            progress(tried + done, tried + of)

    frames, lost = _decode(clip, times, max_edge, cancel, step)
    notes += damage_notes(frames, lost)
    notes += _standstills([min(t, clip.facts.last_frame_seconds) for t in times], frames, clip.facts.fps)
    got = len(frames) + len(lost)
    if request.times_seconds is None and got < count:
        notes.append(f"{len(frames)} of {count} frames: the clip has no others there")
    return SampledClip(clip.facts, tuple(frames), (*file_notes, *notes), file_notes)


def _standstills(times: Sequence[float], frames: Sequence[Frame], fps: float) -> list[str]:
    """Notes where the frame on screen is much older than the requested time."""
    shown = [frame.timestamp_seconds for frame in frames]
    found: dict[float, float] = {}
    for time in times:
        at = shown[max(0, bisect_right(shown, time + 1e-3) - 1)] if shown else time
        if time - at > max(1.0, 5 / fps):
            found[at] = time
    return [
        f"there is no new frame between {time_text(at, 2)} and at least {time_text(time, 2)}: the picture does not change there, or a part "
        "of the file is missing"
        for at, time in found.items()
    ]


def _range_within(facts: ClipFacts, wanted: tuple[float, float] | None) -> tuple[float, float]:
    """The range to sample, at most to the moment the last frame appears. Raises MediaError where it is outside the clip."""
    start, end = wanted or (0.0, facts.last_frame_seconds)
    if not 0 <= start <= end or start >= max(facts.duration_seconds, 1e-3):
        raise MediaError(
            f"The range {time_text(start)} to {time_text(end)} is not within the clip, which ends at "
            f"{time_text(facts.duration_seconds)}.",
            "Choose another range.",
        )
    start = min(start, facts.last_frame_seconds)
    return start, max(start, min(end, facts.last_frame_seconds))


def _scene_times(
    clip: Clip,
    range_seconds: tuple[float, float] | None,
    count: int,
    cancel: threading.Event | None,
    progress: FrameProgress | None,
    notes: list[str],
) -> tuple[list[float], int]:
    """Compare small frames of the likely moments, and choose those that differ most. Returns the times, and how many were
    decoded for it."""
    start, end = _range_within(clip.facts, range_seconds)
    packets = list(clip.packets(cancel))
    if not packets:
        notes.append(
            f"{clip.facts.decoder} does not report where a clip changes, so evenly spaced frames were compared"
        )
    candidates = candidate_times(packets, start, end, max(MIN_CANDIDATES, CANDIDATES_PER_FRAME * count))
    of = len(candidates) + count
    found, lost = _decode(clip, candidates, CANDIDATE_EDGE, cancel, lambda n, _: progress(n, of) if progress else None)
    if lost:
        notes.append(f"{len(lost)} of {len(candidates)} frames that were compared are too damaged to decode")
    found = [frame for frame in found if not frame.damaged] or found
    looks = [np.asarray(f.image.resize((16, 16)), dtype=np.float64).ravel() for f in found]
    chosen = most_different(np.array(looks), count)
    return [found[i].timestamp_seconds for i in chosen] or candidates[:1], len(candidates)


def _decode(
    clip: Clip, times: Sequence[float], max_edge: int, cancel: threading.Event | None, progress: FrameProgress
) -> tuple[list[Frame], list[float]]:
    """(frames in order, each once; the times of lost frames)."""
    frames: dict[float, Frame] = {}
    lost: dict[float, None] = {}
    for done, result in enumerate(clip.frames_at(times, max_edge, cancel), start=1):
        if isinstance(result, LostFrame):
            lost[result.timestamp_seconds] = None
        else:
            frames.setdefault(result.timestamp_seconds, result)
        progress(done, len(times))
    return [frames[time] for time in sorted(frames)], sorted(lost)


def _listed(times: Sequence[float]) -> str:
    listed = ", ".join(time_text(t, 2) for t in times[:5]) + (" and more" if len(times) > 5 else "")
    return f"the frame at {listed} is" if len(times) == 1 else f"{len(times)} frames (at {listed}) are"

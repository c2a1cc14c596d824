"""Which times of a clip to sample: pure functions. Does not know decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from smolvlm_core.video.clip import PacketFacts

EVENT_GAP_SECONDS = 0.4  # two events closer than this count as one


def default_frame_count(duration_seconds: float, fps: float, max_frames: int) -> int:
    """SmolVLM2's own rule: `fps` frames for each second, at most `max_frames`, at least one.

    Source: transformers 5.23.0, models/smolvlm/video_processing_smolvlm.py.
    """
    return max(1, min(max_frames, round(fps * duration_seconds)))


def evenly_spaced_times(start_seconds: float, end_seconds: float, count: int) -> list[float]:
    """`count` times from the start to the end, both included. For one, the middle.

    Over a whole clip, with the time of its last frame as the end, this is SmolVLM2's own rule (source: as above) with two
    differences. SmolVLM2 takes the first frame where only one is requested. It also leaves out the first and last second of a clip
    that is over two seconds longer than the frames need at its rate; here the range that a user chose is covered to its ends.

    Raises:
        ValueError: `count` is under 1 or the range is not in order.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least 1 is needed")
    if not 0 <= start_seconds <= end_seconds:
        raise ValueError(f"range is {start_seconds} to {end_seconds} s; 0 <= start <= end is needed")
    if count == 1:
        return [(start_seconds + end_seconds) / 2]
    step = (end_seconds - start_seconds) / (count - 1)
    return [min(end_seconds, start_seconds + step * i) for i in range(count)]


def count_that_fits(budget_tokens: int, tokens_for: Callable[[int], int], most: int) -> int:
    """The largest number of frames, at most `most`, whose prompt fits the budget. 0 where not even one fits.

    `tokens_for(count)` must not decrease as `count` increases.
    """
    low, high = 0, max(0, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tokens_for(middle) <= budget_tokens else (low, middle - 1)
    return low


def candidate_times(
    packets: Sequence[PacketFacts], start_seconds: float, end_seconds: float, limit: int
) -> list[float]:
    """Up to `limit` times at which something may have changed, from the sizes of the compressed frames alone.

    A frame that differs from the one before takes more bytes, or becomes a keyframe early. A third of the times are evenly
    spaced, for slow changes.
    """
    even = evenly_spaced_times(start_seconds, end_seconds, max(1, limit // 3))
    inside = sorted(
        (p for p in packets if start_seconds <= p.timestamp_seconds <= end_seconds), key=lambda p: p.timestamp_seconds
    )
    if len(inside) < 3:
        return sorted(set(even))[:limit]
    times = np.array([p.timestamp_seconds for p in inside])
    chosen: list[float] = []
    for index in np.argsort(-_surprise(inside), kind="stable"):
        if len(chosen) + len(even) >= limit:
            break
        if all(abs(times[index] - other) >= EVENT_GAP_SECONDS for other in chosen):
            chosen.append(float(times[index]))
    return sorted({*even, *chosen})


def _surprise(packets: Sequence[PacketFacts]) -> NDArray[np.float64]:
    """For each packet, in order of time: how much larger it is than its neighbours of the same kind, or how early its
    keyframe comes for this clip."""
    times = np.array([p.timestamp_seconds for p in packets])
    sizes = np.array([max(1, p.size_bytes) for p in packets], dtype=float)
    keys = np.array([p.is_keyframe for p in packets])
    if keys.mean() > 0.9:  # all are keyframes: a jump in size is a change
        jumps: NDArray[np.float64] = np.abs(np.diff(np.log(sizes), prepend=np.log(sizes[0])))
        return jumps
    out = np.zeros(len(packets))
    others = np.flatnonzero(~keys)
    out[others] = np.log(sizes[others] / _local_median(sizes[others]))
    at = np.flatnonzero(keys)
    gaps = np.diff(times[at], prepend=times[at[0]] if len(at) else 0)
    if len(at) > 1:
        early = gaps < 0.9 * gaps.max()
        early[0] = False
        out[at[early]] = np.log(sizes[at[early]] / np.median(sizes[others])) if len(others) else 1.0
    return out


def _local_median(sizes: NDArray[np.float64], reach: int = 64) -> NDArray[np.float64]:
    """The median of each block of `2 * reach` neighbours, for the middle half of the block."""
    out = np.empty(len(sizes))
    for begin in range(0, len(sizes), reach):
        near = sizes[max(0, begin - reach // 2) : begin + reach + reach // 2]
        out[begin : begin + reach] = np.median(near)
    return out


def most_different(looks: NDArray[np.float64], count: int) -> list[int]:
    """Ascending indices of the `count` rows of `looks` (frames, features) that differ most from each other.

    Starts with the first row, then always takes the row farthest from all that were taken (farthest-point sampling). Fewer
    where the remaining rows equal these.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least 1 is needed")
    if not len(looks):
        return []
    taken = [0]
    distance = np.abs(looks - looks[0]).mean(1)
    while len(taken) < min(count, len(looks)):
        index = int(distance.argmax())
        if distance[index] <= 0:
            break
        taken.append(index)
        distance = np.minimum(distance, np.abs(looks - looks[index]).mean(1))
    return sorted(taken)

"""Which times of a clip to look at (pure), and taking the frames there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from smolvlm_core.errors import MediaError
from smolvlm_core.video.clip import Frame, SampledClip
from smolvlm_core.video.decoders import open_clip


def default_frame_count(duration_seconds: float, fps: float, max_frames: int) -> int:
    """SmolVLM2's own rule: `fps` frames for each second, at most `max_frames`, at least one.

    Source: transformers 5.23.0, models/smolvlm/video_processing_smolvlm.py.
    """
    return max(1, min(max_frames, round(fps * duration_seconds)))


def evenly_spaced_times(start_seconds: float, end_seconds: float, count: int) -> list[float]:
    """`count` times over a range: its middle for one, else from the start to just before the end.

    Raises:
        ValueError: `count` is under 1 or the range is empty.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least 1 is needed")
    if not 0 <= start_seconds < end_seconds:
        raise ValueError(f"range is {start_seconds} to {end_seconds} s; 0 <= start < end is needed")
    if count == 1:
        return [(start_seconds + end_seconds) / 2]
    step = (end_seconds - start_seconds) / count
    # The middle of each of `count` equal parts, stretched so that the first and last lie near the ends.
    inner = [start_seconds + step * (i + 0.5) for i in range(count)]
    spread = (end_seconds - start_seconds - step * 0.1) / (inner[-1] - inner[0])
    return [start_seconds + (t - inner[0]) * spread for t in inner]


def sample_clip(
    path: Path,
    count: int,
    range_seconds: tuple[float, float] | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampledClip:
    """Take `count` evenly spaced frames of a clip, fewer where it has fewer; `progress(done, count)` is called after each.

    Raises:
        MediaError: the clip cannot be read, or the range lies outside it.
    """
    clip = open_clip(path)
    try:
        duration = max(clip.facts.duration_seconds, 1e-3)
        start, end = range_seconds or (0.0, duration)
        end = min(end, duration)
        if not 0 <= start < end:
            raise MediaError(
                f"The range {start:.1f} to {end:.1f} s is not within the clip ({duration:.1f} s).",
                "Choose another range.",
            )
        times = evenly_spaced_times(start, end, min(count, max(1, clip.facts.frame_count)))
        frames: list[Frame] = []
        for frame in clip.frames_at(times):
            if cancel is not None and cancel.is_set():
                break
            frames.append(frame)
            if progress is not None:
                progress(len(frames), len(times))
        different = _without_repeats(frames)
        notes = _notes(count, len(different))
    finally:
        clip.close()
    if not different:
        raise MediaError(
            f"No frame of {path.name} can be decoded.", "The file may be damaged: save or download it again."
        )
    return SampledClip(clip.facts, tuple(different), tuple(notes))


def _without_repeats(frames: Sequence[Frame]) -> list[Frame]:
    seen: dict[int, Frame] = {}
    for frame in frames:
        seen.setdefault(frame.frame_index, frame)
    return list(seen.values())


def _notes(asked: int, got: int) -> list[str]:
    return [] if got == asked else [f"{got} of {asked} frames: the range has no more, or they could not be decoded"]

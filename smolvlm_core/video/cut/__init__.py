"""Chosen moments of a clip as a new file: copied without re-encoding, from keyframe on, or encoded again, exact to the frame."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.files import replacing
from smolvlm_core.times import Range
from smolvlm_core.video.cut.copying import copy_packets
from smolvlm_core.video.cut.encoding import encode_again
from smolvlm_core.video.cut.parts import EXACT_HINT, FORMATS, CutClip, Part, format_of
from smolvlm_core.video.cut.plan import check_ranges, container_of, plan_parts
from smolvlm_core.video.decoders.base import SamplingCancelled
from smolvlm_core.video.sampling import take_frames
from smolvlm_core.work.report import Report

__all__ = ["FORMATS", "CutClip", "Part", "cut_clip", "suffix_of"]

RETRIES = 2  # from earlier keyframes: not every keyframe decodes on its own
COMPARED_EDGE = 256  # px
EXACT_SUFFIX = ".mp4"


def cut_clip(
    source: Path,
    ranges: Sequence[Range],
    target: Path,
    *,
    exact: bool = False,
    report: Report = lambda text, fraction: None,
    cancel: threading.Event | None = None,
) -> CutClip:
    """Write the parts of a clip that are on screen in `ranges`, one after another by time. The extension of `target` is its format.

    Without `exact`, compressed frames and sound are copied as they are. A part then begins at the keyframe before its range, and
    ends where the decoder needs no later frame: the result says how much that is. Each part is compared with the original
    before the file takes its name. With `exact`, frames are encoded again (H.264), upright and with square pixels.

    Args:
        ranges: seconds from the first frame: from the frame on screen at the first time, up to the second time. Those that
            overlap become one.

    Raises:
        MediaError: the clip cannot be read or cut like this, a range lies outside it, or there is no such format.
        SamplingCancelled: `cancel` was set. Nothing is left of the new file.
        StoreError: the file cannot be written.
    """
    kind = format_of(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise MediaError(f"{target.name} is the clip itself.", "Choose another name for the new file.")
    wanted = check_ranges(source, ranges)
    if exact:
        report("Encoding", 0.0)
        with replacing(target) as file:
            return encode_again(source, wanted, file, kind, report, cancel)
    for back in range(1 + RETRIES):
        report("Looking for keyframes", None)
        plan = plan_parts(source, wanted, kind, back, cancel)
        try:
            with replacing(target) as file:
                notes = copy_packets(source, plan, file, kind, report, cancel)
                file.flush()
                report("Comparing with the original", None)
                _compare(source, Path(file.name), plan.parts, cancel)
            return CutClip(parts=plan.parts, exact=False, notes=tuple(notes))
        except _Differs:
            continue
    raise MediaError(f"A part of {source.name} cannot be decoded from its keyframe.", EXACT_HINT)


def suffix_of(source: Path, *, exact: bool = False) -> str:
    """The extension that suits a cut of a clip. Raises MediaError where it can only be cut with `exact`."""
    if exact:
        return EXACT_SUFFIX
    return {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm", "avi": ".avi"}[container_of(source)]


class _Differs(LensError):
    """A part does not show the same frames as the original."""


def _compare(source: Path, new: Path, parts: Sequence[Part], cancel: threading.Event | None) -> None:
    """The first and the last frame of each range. Raises _Differs."""
    for part in parts:
        for start, end in part.wanted:
            times = sorted({start, max(start, end - 1e-3)})
            moved = [max(0.0, time - part.start_seconds + part.at_seconds) for time in times]
            try:
                old, cut = (
                    take_frames(path, at, max_edge=COMPARED_EDGE, cancel=cancel)
                    for path, at in ((source, times), (new, moved))
                )
            except SamplingCancelled:
                raise
            except MediaError as error:
                raise _Differs(str(error)) from error
            same = len(old.frames) == len(cut.frames) and all(
                np.array_equal(a.pixels, b.pixels) for a, b in zip(old.frames, cut.frames)
            )
            if not same:
                raise _Differs(f"The part at {start} s differs.")

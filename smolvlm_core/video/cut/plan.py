"""Which compressed frames a cut without re-encoding needs: from a keyframe on, to where no later frame is needed. Writes nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from smolvlm_core.errors import MediaError
from smolvlm_core.times import Range, time_text
from smolvlm_core.video.cut.parts import EXACT_HINT, Part
from smolvlm_core.video.decoders.base import check_cancelled, opened
from smolvlm_core.video.decoders.pyav import PyAvClip
from smolvlm_core.video.decoders.pyav_file import DEMUXERS, MAX_REORDER, ClipFile

if TYPE_CHECKING:
    from av.container import InputContainer

HIDING = ("mp4", "mov")  # formats with edit lists: what comes before the start is there, and not shown
WEBM_CODECS = {"vp8", "vp9", "av1", "opus", "vorbis"}
_SAME = 1e-3  # of a tick


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Compressed frames to copy, in units of the video stream.

    `order`: their times in decoding order. `start`: the time of the first that is shown; earlier ones are hidden. `stop`: when
    the last one disappears. `key`: where to seek; None for the start of the file. `position`: of `start` in the new file.
    """

    wanted: tuple[Range, ...]
    key: int | None
    order: list[int]
    start: int
    stop: int
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class CutPlan:
    """`tick`: seconds a unit. `stream`: the index of the video stream."""

    pieces: tuple[Piece, ...]
    parts: tuple[Part, ...]
    tick: float
    stream: int


@contextmanager
def open_source(source: Path) -> Iterator[InputContainer]:
    """Raises MediaError."""
    import av

    try:
        container = av.open(opened(source), options={"format_whitelist": DEMUXERS}, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{source.name} cannot be read: {error}.", "Check that it is a clip.") from error
    with container:
        yield cast("InputContainer", container)


def container_of(source: Path) -> str:
    """The format of a clip that can be cut without re-encoding, by its content. Raises MediaError."""
    with open_source(source) as container:
        name, brand = str(container.format.name), str(container.metadata.get("major_brand", ""))
        codecs = {s.codec_context.codec.canonical_name for s in container.streams if s.codec_context is not None}
    if name.startswith("mov"):
        return "mov" if brand.startswith("qt") else "mp4"
    if name.startswith("matroska"):
        return "webm" if codecs <= WEBM_CODECS else "matroska"
    if name == "avi":
        return "avi"
    raise MediaError(f"{source.name} has a format that cannot be cut without re-encoding ({name}).", EXACT_HINT)


def check_ranges(source: Path, ranges: Sequence[Range]) -> list[Range]:
    """By time, within the clip; those that overlap or touch are one. Raises MediaError."""
    clip = PyAvClip(source)
    clip.close()
    if not ranges:
        raise MediaError("There is nothing to cut.", "Choose at least one range.")
    length = clip.facts.duration_seconds
    wanted: list[Range] = []
    for start, end in sorted(ranges):
        if not 0 <= start <= end or start >= length:
            raise MediaError(
                f"The range {time_text(start)} to {time_text(end)} is not within the clip, which ends at {time_text(length)}.",
                "Choose another range.",
            )
        if wanted and start <= wanted[-1][1] + 1e-6:
            wanted[-1] = (wanted[-1][0], max(wanted[-1][1], min(end, length)))
        else:
            wanted.append((start, min(end, length)))
    return wanted


def plan_parts(
    source: Path, wanted: Sequence[Range], kind: str, back: int = 0, cancel: threading.Event | None = None
) -> CutPlan:
    """What to copy for each range. `kind`: FFmpeg's name of the new format. `back`: begin so many keyframes earlier.

    Raises:
        MediaError: the clip cannot be cut there without re-encoding.
        SamplingCancelled: `cancel` was set.
    """
    container_of(source)
    file = _opened_file(source)
    try:
        if not file.is_timed:
            raise MediaError(f"{source.name} does not say when its frames are shown (AVI).", EXACT_HINT)
        pieces: list[Piece] = []
        for one in wanted:
            hides = kind in HIDING and not pieces
            piece = _piece(file, (one,), hides, back, cancel)
            if pieces and piece.start < pieces[-1].stop:
                hides = kind in HIDING and len(pieces) == 1
                piece = _piece(file, (*pieces.pop().wanted, one), hides, back, cancel)
            pieces.append(piece)
        placed, position = [], 0
        for piece in pieces:
            placed.append(replace(piece, position=position))
            position += piece.stop - piece.start
        parts = tuple(
            Part(
                wanted=piece.wanted,
                start_seconds=file.seconds(piece.start),
                end_seconds=file.seconds(piece.stop),
                at_seconds=piece.position * file.tick,
            )
            for piece in placed
        )
        return CutPlan(pieces=tuple(placed), parts=parts, tick=file.tick, stream=file.stream.index)
    finally:
        file.close()


def times_of(source: Path, wanted: Range, cancel: threading.Event | None = None) -> list[float]:
    """Seconds: when each frame that is on screen from the first to the second time appears. Raises as `plan_parts`."""
    file = _opened_file(source)
    try:
        first, end = _bounds(file, wanted)
        packets, _ = _packets(file, file.keyframe_before(first), end, cancel)
        shown = sorted(packet.at for packet in packets if not packet.is_hidden and packet.at >= file.first_pts)
        before = max((at for at in shown if at <= first), default=first)
        return [file.seconds(at) for at in shown if before <= at < end]
    finally:
        file.close()


def _opened_file(source: Path) -> ClipFile:
    """Ready to look for keyframes."""
    clip = PyAvClip(source)
    clip.close()
    file = ClipFile(source)
    file.first_pts = round(clip.facts.start_seconds / file.tick)
    file.fps = clip.facts.fps
    return file


def _bounds(file: ClipFile, wanted: Range) -> tuple[int, int]:
    """In the stream's units; at least one frame is between them."""
    first = file.first_pts + int(wanted[0] / file.tick + _SAME)
    return first, max(first + 1, file.first_pts + math.ceil(wanted[1] / file.tick - _SAME))


def _piece(file: ClipFile, wanted: tuple[Range, ...], hides: bool, back: int, cancel: threading.Event | None) -> Piece:
    """`hides`: whether frames before the start can be hidden in the new file."""
    first, end = _bounds(file, (wanted[0][0], max(end for _, end in wanted)))
    key, order, hidden, last_ticks = _from_keyframe(file, first, end, back, cancel)
    begin = order[0]
    order, after = order[: (count := _closed(order, end))], order[count:]
    shown = [at for at in order if at not in hidden]
    if not shown:
        raise MediaError(f"No frame is shown at {time_text(wanted[0][0])}.", "Choose another range.")
    first_shown = min(shown)
    if any(at in hidden for at in order if at > first_shown):
        raise MediaError(f"An edit list hides frames after {time_text(file.seconds(first_shown))}.", EXACT_HINT)
    start = first_shown if hides else begin
    highest = max(shown)
    stop = min((at for at in after if at > highest), default=highest + (last_ticks or round(1 / file.fps / file.tick)))
    return Piece(wanted=wanted, key=key, order=order, start=start, stop=stop)


def _from_keyframe(
    file: ClipFile, first: int, end: int, back: int, cancel: threading.Event | None
) -> tuple[int | None, list[int], frozenset[int], int]:
    """(where to seek, times in decoding order from the keyframe to well after `end`, those an edit list hides, duration of the last).

    Frames that are shown before the keyframe that they follow are left out: they need frames before it, too (open groups).
    """
    key = file.keyframe_before(first)
    while True:
        packets, last_ticks = _packets(file, key, end, cancel)
        keys = [index for index, packet in enumerate(packets) if packet.is_keyframe and packet.at <= first]
        if len(keys) > back or key is None:  # a seek can go further back than it has to
            packets = packets[keys[max(-len(keys), -1 - back)] if keys else 0 :]
            order = [packet.at for packet in packets if packet.at >= packets[0].at]
            return key, order, frozenset(packet.at for packet in packets if packet.is_hidden), last_ticks
        key = file.keyframe_before(key - 1)


class _Packet(NamedTuple):
    at: int
    is_keyframe: bool
    is_hidden: bool


def _packets(file: ClipFile, key: int | None, end: int, cancel: threading.Event | None) -> tuple[list[_Packet], int]:
    """(in decoding order, to well after `end`; how long the last one is shown, 0 where the file does not say)."""
    packets: list[_Packet] = []
    later, last = 0, (0, 0)
    for packet in file.packets(key):
        check_cancelled(cancel)
        at = file.time_of(packet)
        if at is None:
            raise MediaError("A frame of the clip has no time.", EXACT_HINT)
        packets.append(_Packet(at, bool(packet.is_keyframe), bool(packet.is_discard)))
        last = max(last, (at, packet.duration or 0))
        later += at >= end
        if later > 2 * MAX_REORDER:
            break
    if not packets:
        raise MediaError("The clip cannot be read there.", "Choose another range.")
    return packets, last[1]


def _closed(order: Sequence[int], end: int) -> int:
    """How many compressed frames, in decoding order, have all that is shown before `end`, and leave no gap.

    A frame can need one that is shown after it. That one is then shown too, and so are those between them.
    """
    last = max((index for index, at in enumerate(order) if at < end), default=0)
    while True:
        highest = max(order[: last + 1])
        grown = max(index for index, at in enumerate(order) if at <= highest)
        if grown == last:
            return last + 1
        last = grown


def decoding_times(order: Sequence[int], end: int) -> list[int]:
    """When each frame is decoded: ascending, and never after it is shown. `order`: when each is shown, in decoding order.

    These are the same times by size, moved later by as many frames as the clip reorders. What the file said does not hold
    where parts are joined. The first ones are spread so that decoding takes as long as showing, up to `end`.
    """
    by_time = [*sorted(order), end]
    place = {at: index for index, at in enumerate(by_time)}
    depth = max(index - place[at] for index, at in enumerate(order))
    last = by_time[len(order) - 1 - depth] + by_time[place[order[-1]] + 1] - order[-1]
    lead = max(depth, end - last)
    return [*(by_time[0] - lead + lead * index // max(1, depth) for index in range(depth)), *by_time][: len(order)]

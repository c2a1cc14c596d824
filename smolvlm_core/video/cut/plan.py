"""Which compressed frames a cut without re-encoding needs: from a keyframe on, to where no later frame is needed. Writes nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smolvlm_core.errors import MediaError
from smolvlm_core.times import Range, time_text
from smolvlm_core.video.decoders.base import check_cancelled, opened
from smolvlm_core.video.decoders.pyav import PyAvClip
from smolvlm_core.video.decoders.pyav_file import DEMUXERS, MAX_REORDER, ClipFile

if TYPE_CHECKING:
    from av.container import InputContainer

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
HIDING = ("mp4", "mov")  # formats with edit lists: what comes before the start is there, and not shown
EXACT_HINT = "Choose an exact cut, which encodes the frames again."
NOTICEABLE_SECONDS = 0.001
WEBM_CODECS = {"vp8", "vp9", "av1", "opus", "vorbis"}
_SAME = 1e-3  # of a tick


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of a cut. Seconds of the original, but `at_seconds`, where it begins in the new file.

    `wanted`: the ranges it was made for. `start_seconds` and `end_seconds`: what it shows.
    """

    wanted: tuple[Range, ...]
    start_seconds: float
    end_seconds: float
    at_seconds: float = 0.0

    @property
    def earlier_seconds(self) -> float:
        """How much it shows before what was wanted."""
        return max(0.0, self.wanted[0][0] - self.start_seconds)

    @property
    def later_seconds(self) -> float:
        """How much it shows after what was wanted."""
        return max(0.0, self.end_seconds - max(end for _, end in self.wanted))

    def describe(self) -> str:
        """In one line, for people: "0:12–0:20: begins 1.5 s earlier, at the keyframe at 0:10.5"."""
        ranges = " and ".join(f"{time_text(start)}–{time_text(end)}" for start, end in self.wanted)
        parts = []
        if self.earlier_seconds > NOTICEABLE_SECONDS:
            at = time_text(self.start_seconds)
            parts.append(f"begins {self.earlier_seconds:.2f} s earlier, at the keyframe at {at}")
        if self.later_seconds > NOTICEABLE_SECONDS:
            parts.append(f"ends {self.later_seconds:.2f} s later")
        if len(self.wanted) > 1:
            parts.append("one piece, since they need the same frames")
        return f"{ranges}: {', '.join(parts) or 'exact'}"


@dataclass(frozen=True, kw_only=True)
class CutClip:
    """What a cut has. `notes`: what is unusual or was left out, in words."""

    parts: tuple[Part, ...]
    exact: bool
    notes: tuple[str, ...] = ()

    @property
    def duration_seconds(self) -> float:
        return sum(part.end_seconds - part.start_seconds for part in self.parts)

    def describe(self) -> tuple[str, ...]:
        """One line a part, then the notes."""
        return (*(part.describe() for part in self.parts), *self.notes)


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
    notes: tuple[str, ...] = field(default=())


def format_of(target: Path) -> str:
    """FFmpeg's name of the format of a file. Raises MediaError."""
    found = FORMATS.get(target.suffix.lower())
    if found is None:
        raise MediaError(f"“{target.suffix}” is no format for a cut.", f"Use one of {', '.join(FORMATS)}.")
    return found


@contextmanager
def open_source(source: Path) -> Iterator[InputContainer]:
    """Raises MediaError."""
    import av

    try:
        container = av.open(opened(source), options={"format_whitelist": DEMUXERS}, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{source.name} cannot be read: {error}.", "Check that it is a clip.") from error
    with container:
        yield container


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
    clip = PyAvClip(source)
    clip.close()
    file = ClipFile(source)
    try:
        if not file.is_timed:
            raise MediaError(f"{source.name} does not say when its frames are shown (AVI).", EXACT_HINT)
        file.first_pts = round(clip.facts.start_seconds / file.tick)
        file.fps = clip.facts.fps
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


def _piece(
    file: ClipFile, wanted: tuple[Range, ...], hides: bool, back: int, cancel: threading.Event | None
) -> Piece:
    """`hides`: whether frames before the start can be hidden in the new file."""
    first = file.first_pts + int(wanted[0][0] / file.tick + _SAME)
    end = max(first + 1, file.first_pts + math.ceil(max(e for _, e in wanted) / file.tick - _SAME))
    key, order, hidden, last_ticks = _from_keyframe(file, first, end, back, cancel)
    begin = order[0]
    order, after = order[: (count := _closed(order, end))], order[count:]
    shown = [at for at in order if at not in hidden]
    if not shown:
        raise MediaError(f"No frame is shown at {time_text(wanted[0][0])}.", "Choose another range.")
    if any(at in hidden for at in order if at > shown[0]):
        raise MediaError(f"An edit list hides frames after {time_text(file.seconds(min(shown)))}.", EXACT_HINT)
    start = min(shown) if hides else begin
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

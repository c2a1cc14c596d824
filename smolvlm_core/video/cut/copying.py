"""Copies compressed frames and sound into a new file, with times that begin at zero. Decodes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from smolvlm_core.errors import MediaError
from smolvlm_core.video.cut.parts import EXACT_HINT
from smolvlm_core.video.cut.plan import HIDING, CutPlan, Piece, decoding_times, open_source
from smolvlm_core.video.decoders.base import check_cancelled
from smolvlm_core.work.report import Report

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

INTERLEAVE_SECONDS = 5.0  # sound can come so much later in a file than the frames of the same moment
SEEK_BACK_SECONDS = 0.5  # and a little earlier
REPORT_EVERY = 500  # packets


def copy_packets(
    source: Path, plan: CutPlan, file: IO[bytes], kind: str, report: Report, cancel: threading.Event | None
) -> list[str]:
    """Returns what was left out, in words. `kind`: FFmpeg's name of the new format.

    Raises:
        MediaError: the new format cannot have these frames, or the clip cannot be read.
        SamplingCancelled: `cancel` was set.
    """
    import av

    try:
        with open_source(source) as old, av.open(file, "w", format=kind) as new:
            copy = _Copy(old, new, plan, kind)
            copy.run(report, cancel)
            return copy.notes
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"{source.name} cannot be copied into a {kind} file: {error}.", EXACT_HINT) from error


class _Copy:
    def __init__(self, old: InputContainer, new: OutputContainer, plan: CutPlan, kind: str) -> None:
        self.notes: list[str] = []
        self._old, self._new, self._plan, self._kind = old, new, plan, kind
        self._video: Any = old.streams[plan.stream]
        self._out: dict[int, Any] = {plan.stream: new.add_stream_from_template(self._video, opaque=True)}
        for stream in old.streams:
            if stream.index != plan.stream:
                self._add(stream)
        self._sound = {index: -(1 << 62) for index in self._out if index != plan.stream}  # the last time of each

    def _add(self, stream: Any) -> None:
        """Sound is copied; other streams, and sound that the format cannot have, are among the notes."""
        name = stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"
        if stream.type == "audio" and stream.codec_context is not None:
            try:
                self._out[stream.index] = self._new.add_stream_from_template(stream, opaque=True)
            except ValueError:
                self.notes.append(f"sound left out: a {self._kind} file cannot have {name}")
        elif stream.type == "subtitle":
            self.notes.append(f"subtitles left out ({name})")
        elif stream.type == "video":
            self.notes.append("only the first picture track is kept")

    def run(self, report: Report, cancel: threading.Event | None) -> None:
        pieces = self._plan.pieces
        placed = [at - piece.start + piece.position for piece in pieces for at in piece.order]
        decoded = iter(decoding_times(placed, pieces[-1].position + pieces[-1].stop - pieces[-1].start))
        total, done = len(placed), 0
        for piece in pieces:
            left, ticks = set(piece.order), _durations(piece)
            for packet in self._packets(piece):
                check_cancelled(cancel)
                index = packet.stream.index
                if index != self._plan.stream:
                    self._copy_sound(packet, piece)
                    continue
                at = packet.pts if packet.pts is not None else packet.dts
                if at not in left:
                    continue
                left.discard(at)
                packet.pts, packet.dts = at - piece.start + piece.position, next(decoded)
                packet.duration = ticks[at]
                packet.stream = self._out[index]
                self._new.mux(packet)
                done += 1
                if done % REPORT_EVERY == 0:
                    report(f"Copied {done:,} of {total:,} frames", done / total)
            if left:
                raise MediaError(f"{len(left)} frames of the clip cannot be read again.", EXACT_HINT)

    def _packets(self, piece: Piece) -> Iterator[Any]:
        """From the keyframe or before, to the end of the piece in all streams."""
        if piece.key is not None:
            back = round(SEEK_BACK_SECONDS / self._plan.tick)
            self._old.seek(piece.key - back, stream=self._video)
        ended: set[int] = set()
        left = len(piece.order)
        streams = [self._old.streams[index] for index in self._out]
        for packet in self._old.demux(streams):
            at = packet.pts if packet.pts is not None else packet.dts
            if at is None or not packet.size:
                continue
            index = packet.stream.index
            past = at * float(packet.time_base) - piece.stop * self._plan.tick
            if past >= 0:
                ended.add(index)
            yield packet
            left -= index == self._plan.stream and at >= piece.order[0] and past < 0
            is_late = index == self._plan.stream and past > INTERLEAVE_SECONDS
            if is_late or (left <= 0 and ended >= self._sound.keys()):
                return

    def _copy_sound(self, packet: Any, piece: Piece) -> None:
        """What begins while the piece is shown; at the start of the file, also what is heard then (it can be hidden there)."""
        tick, unit = float(packet.time_base), self._plan.tick
        start, stop = piece.start * unit, piece.stop * unit
        begins = packet.pts * tick if packet.pts is not None else packet.dts * tick
        hides = self._kind in HIDING and piece is self._plan.pieces[0]
        heard = begins + (packet.duration or 0) * tick * 2 if hides else begins  # a packet needs the one before it
        if not (heard >= start and begins < stop):
            return
        index, shift = packet.stream.index, round((start - piece.position * unit) / tick)
        at = (packet.pts if packet.pts is not None else packet.dts) - shift
        if at <= self._sound[index]:
            return
        self._sound[index] = at
        packet.pts = packet.dts = at
        packet.stream = self._out[index]
        self._new.mux(packet)


def _durations(piece: Piece) -> dict[int, int]:
    """How long each frame is shown."""
    times = [*sorted(piece.order), piece.stop]
    return {at: after - at for at, after in pairwise(times)}

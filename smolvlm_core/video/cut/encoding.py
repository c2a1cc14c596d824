"""Encodes chosen moments again (H.264 and AAC), exact to the frame: upright, with square pixels, as the model would be shown them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from smolvlm_core.errors import MediaError
from smolvlm_core.times import Range
from smolvlm_core.video.clip import Frame, LostFrame
from smolvlm_core.video.cut.parts import CutClip, Part
from smolvlm_core.video.cut.plan import open_source, times_of
from smolvlm_core.video.cut.sound import Sound
from smolvlm_core.video.decoders.base import check_cancelled
from smolvlm_core.video.decoders.pyav import PyAvClip
from smolvlm_core.video.sampling import damage_notes
from smolvlm_core.work.report import Report

if TYPE_CHECKING:
    from av.container import OutputContainer

ENCODABLE = ("mp4", "mov", "matroska")
ENCODER = "libx264"
# No difference that people see. Without reordered frames, MP4 says of each how long it is shown.
OPTIONS = {"crf": "16", "preset": "veryfast", "bf": "0"}
TICK = Fraction(1, 90_000)
MAX_EDGE = 8192  # px: the whole frame
BT709, LIMITED = 1, 1  # ITU-T H.273; AVCOL_RANGE_MPEG
REPORT_EVERY = 10


def encode_again(
    source: Path, wanted: Sequence[Range], file: IO[bytes], kind: str, report: Report, cancel: threading.Event | None
) -> CutClip:
    """Frames are shown as long as in the original. `kind`: FFmpeg's name of the new format.

    Raises:
        MediaError: the clip cannot be read, or the format or PyAV cannot have H.264.
        SamplingCancelled: `cancel` was set.
    """
    import av

    if kind not in ENCODABLE:
        raise MediaError(f"An exact cut cannot be written as {kind}.", "Use .mp4, .mov or .mkv.")
    if ENCODER not in av.codecs_available:
        raise MediaError(
            "PyAV was built without an H.264 encoder here.", "Cut without re-encoding, or install PyAV's wheel."
        )
    try:
        with open_source(source) as old, av.open(file, "w", format=kind) as new:
            return _Encoding(source, wanted, old, new).run(report, cancel)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"{source.name} cannot be encoded again: {error}.", "Cut without re-encoding.") from error


class _Encoding:
    def __init__(self, source: Path, wanted: Sequence[Range], old: Any, new: OutputContainer) -> None:
        self._source, self._wanted, self._new = source, wanted, new
        self._old = old
        self._clip = PyAvClip(source)
        self._stream: Any = None
        self._times: deque[int] = deque()  # of frames in the encoder, in ticks
        self._notes: list[str] = []

    def run(self, report: Report, cancel: threading.Event | None) -> CutClip:
        try:
            self._sound = Sound(self._old, self._new, self._wanted, self._clip.facts.start_seconds)
            shown = [times_of(self._source, one, cancel) for one in self._wanted]
            total, done, at = sum(map(len, shown)), 0, 0.0
            parts: list[Part] = []
            for (start, end), times in zip(self._wanted, shown):
                for frame in self._frames(times, cancel):
                    self._encode(frame, at + max(0.0, frame.timestamp_seconds - start))
                    self._sound.write_until(at + frame.timestamp_seconds - start, cancel)
                    done += 1
                    if done % REPORT_EVERY == 0:
                        report(f"Encoded {done:,} of {total:,} frames", done / total)
                end = max(end, start + 1 / self._clip.facts.fps) if end == start else end
                parts.append(Part(wanted=((start, end),), start_seconds=start, end_seconds=end, at_seconds=at))
                at += end - start
            self._finish(at, cancel)
            return CutClip(parts=tuple(parts), exact=True, notes=(*self._notes, *self._sound.notes))
        finally:
            self._clip.close()

    def _frames(self, times: Sequence[float], cancel: threading.Event | None) -> Iterator[Frame]:
        """By time. Those that cannot be decoded, or only too late, are among the notes."""
        last, lost, damaged = -1.0, [], []
        for frame in self._clip.frames_at(times, MAX_EDGE, cancel):
            check_cancelled(cancel)
            if isinstance(frame, LostFrame) or frame.timestamp_seconds <= last:
                lost.append(frame.timestamp_seconds)
                continue
            if frame.damaged:
                damaged.append(frame)
            last = frame.timestamp_seconds
            yield frame
        self._notes += damage_notes(damaged, lost)

    def _encode(self, frame: Frame, at: float) -> None:
        import av

        pixels = _even(frame.pixels)
        if self._stream is None:
            self._stream = self._open(*pixels.shape[1::-1])
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED
        )
        ticks = round(at / TICK)
        if self._times and ticks <= self._times[-1]:
            ticks = self._times[-1] + 1
        picture.pts, picture.time_base = ticks, TICK
        self._times.append(ticks)
        self._mux(self._stream.encode(picture), None)

    def _open(self, width: int, height: int) -> Any:
        rate = Fraction(self._clip.facts.fps).limit_denominator(1001)
        stream: Any = self._new.add_stream(ENCODER, rate=rate, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = TICK
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = (
            BT709,
            BT709,
            BT709,
            LIMITED,
        )
        self._sound.open()
        return stream

    def _mux(self, packets: Any, end: int | None) -> None:
        """`end`: when the last frame disappears, in ticks."""
        for packet in packets:
            following = next((time for time in self._times if time > packet.pts), end)
            if following is not None:
                packet.duration = following - packet.pts
            while len(self._times) > 64 and self._times[0] < packet.pts:
                self._times.popleft()
            self._new.mux(packet)

    def _finish(self, end: float, cancel: threading.Event | None) -> None:
        if self._stream is None:
            raise MediaError("None of these frames can be decoded.", "Choose another range.")
        self._mux(self._stream.encode(None), round(end / TICK))
        self._sound.write_until(end, cancel)
        self._sound.finish(cancel)


def _even(pixels: Any) -> Any:
    """H.264 here needs even sizes: the last row or column is there twice where they are odd."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)

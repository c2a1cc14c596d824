"""The sound of chosen moments, encoded again (AAC), exact to the sample. Silence where there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smolvlm_core.times import Range
from smolvlm_core.video.decoders.base import check_cancelled

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

Samples = NDArray[np.float32]  # (channels, samples)
ENCODER = "aac"
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # of AAC
SEEK_BACK_SECONDS = 1.0
CHUNK_SECONDS = 1.0


class Sound:
    """The first sound track of `old`, written into `new` as it is asked for. Does nothing where there is none.

    `start_seconds`: of the first frame of the clip, in the file.
    """

    def __init__(
        self, old: InputContainer, new: OutputContainer, wanted: Sequence[Range], start_seconds: float
    ) -> None:
        self.notes: list[str] = []
        self._old, self._new, self._wanted, self._start = old, new, wanted, start_seconds
        streams = [stream for stream in old.streams.audio if stream.codec_context is not None]
        self._stream: Any = streams[0] if streams else None
        if len(streams) > 1:
            self.notes.append("only the first sound track is kept")
        if old.streams.subtitles:
            self.notes.append("subtitles left out")
        self._out: Any = None
        self._written = 0  # samples

    def open(self) -> None:
        """Before the first frame is written."""
        if self._stream is None:
            return
        self._rate = min(RATES, key=lambda rate: (abs(rate - self._stream.codec_context.sample_rate), rate))
        self._layout = "mono" if self._stream.codec_context.channels == 1 else "stereo"
        self._out = self._new.add_stream(ENCODER, rate=self._rate)
        self._out.layout = self._layout
        self._chunks = self._all_chunks()

    def write_until(self, seconds: float, cancel: threading.Event | None = None) -> None:
        """Of the new file, roughly. Raises SamplingCancelled."""
        if self._out is None:
            return
        while self._written < seconds * self._rate:
            check_cancelled(cancel)
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._encode(chunk)

    def finish(self, cancel: threading.Event | None = None) -> None:
        """The rest of the sound. Raises SamplingCancelled."""
        if self._out is not None:
            for chunk in self._chunks:
                check_cancelled(cancel)
                self._encode(chunk)
            self._new.mux(self._out.encode(None))

    def _encode(self, samples: Samples) -> None:
        import av

        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._written, Fraction(1, self._rate)
        self._written += samples.shape[1]
        self._new.mux(self._out.encode(frame))

    def _all_chunks(self) -> Iterator[Samples]:
        length = 0.0
        given = 0
        for start, end in self._wanted:
            length += end - start
            count = round(length * self._rate) - given  # no error adds up over the parts
            given += count
            yield from self._chunks_of(start + self._start, count)

    def _chunks_of(self, start: float, count: int) -> Iterator[Samples]:
        """`count` samples from a time of the file."""
        channels = 1 if self._layout == "mono" else 2
        at, first = 0, round(start * self._rate)  # at: given so far
        for begin, samples in self._decoded(start, start + count / self._rate):
            begin -= first
            if begin > at:  # nothing is heard until then
                missing = min(begin, count) - at
                yield np.zeros((channels, missing), dtype=np.float32)
                at += missing
            samples = samples[:, max(0, at - begin) :][:, : count - at]
            if samples.shape[1]:
                yield samples
                at += samples.shape[1]
            if at >= count:
                return
        while at < count:
            silent = min(count - at, round(CHUNK_SECONDS * self._rate))
            yield np.zeros((channels, silent), dtype=np.float32)
            at += silent

    def _decoded(self, start: float, end: float) -> Iterator[tuple[int, Samples]]:
        """(when it is heard, in samples of the new rate; the samples). What is damaged is left out."""
        import av

        self._old.seek(max(0, round((start - SEEK_BACK_SECONDS) * av.time_base)))
        resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
        self._stream.codec_context.flush_buffers()
        for packet in self._old.demux(self._stream):
            try:
                frames = self._stream.codec_context.decode(packet) if packet.size else []
            except (av.error.FFmpegError, OSError):
                continue
            for frame in frames:
                if frame.pts is None:
                    continue
                begin = float(frame.pts * frame.time_base)
                if begin > end:
                    return
                frame.pts = None
                for part in resampler.resample(frame):
                    yield round(begin * self._rate), np.asarray(part.to_ndarray(), dtype=np.float32)

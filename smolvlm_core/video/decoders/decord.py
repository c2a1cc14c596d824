"""decord 0.6.0, unmaintained since 2022.

It reads the whole file before the first frame. After a seek it is some frames off where frames at a keyframe need the ones
before it (open groups of pictures, H.265).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from smolvlm_core.video.clip import ClipFacts, Frame, LostFrame
from smolvlm_core.video.decoders.base import DecoderError, Source, check_pixels, name_of, opened, scaled, size_of

MAX_SECONDS = 1e7


class DecordClip:
    """decord applies rotation metadata (measured on quarter turns) but does not report the angle. It can silently repeat a frame in
    place of a damaged one."""

    def __init__(self, source: Source) -> None:
        import decord

        self._errors = (decord.DECORDError, RuntimeError, IndexError)
        try:
            self._reader = decord.VideoReader(opened(source), num_threads=1)
            count = len(self._reader)
            if count == 0:
                raise DecoderError(f"{name_of(source)} has no frames.")
            self._starts = [float(t) for t in self._reader.get_frame_timestamp(list(range(count)))[:, 0]]
            last_end = float(self._reader.get_frame_timestamp(count - 1)[1])
            height, width = self._reader[0].shape[:2]
        except self._errors as error:
            raise DecoderError(f"decord cannot read {name_of(source)}.") from error
        check_pixels(source, width, height)
        first, last = self._starts[0], self._starts[-1]
        if first < -MAX_SECONDS or not first <= last < MAX_SECONDS:
            raise DecoderError(f"decord finds no timestamps in {name_of(source)}.")  # AVI with reordered frames
        self.facts = ClipFacts(
            max(last_end, last) - first,
            width,
            height,
            float(self._reader.get_avg_fps()),
            count,
            None,
            "decord",
            "",
            size_of(source),
            first,
            last - first,
        )

    def frames_at(self, times_seconds: Sequence[float], max_edge: int) -> Iterator[Frame | LostFrame]:
        first = self._starts[0]
        for time in times_seconds:
            index = max(0, bisect_right(self._starts, first + time + 1e-6) - 1)
            at = self._starts[index] - first
            try:
                pixels = self._reader[index].asnumpy()
            except self._errors:
                yield LostFrame(at)
            else:
                yield Frame(at, index, scaled(pixels, max_edge), "decord")

    def close(self) -> None:
        self._reader = None

"""OpenCV: reads forward from the start, since its seeks are not exact. Slow on long clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from smolvlm_core.video.clip import ClipFacts, Frame
from smolvlm_core.video.decoders.base import DecoderError, Source, check_pixels, name_of, opened, scaled, size_of


class OpenCvClip:
    """OpenCV applies rotation itself. Times are those it reports, which follow the container's timestamps.

    It silently skips what it cannot decode, so lost frames are not known. Runs in a process of its own (`isolated`).
    """

    def __init__(self, source: Source) -> None:
        import cv2

        self._cv2: Any = cv2
        self._source = source
        self._rewind()
        ok, pixels = self._capture.read() if self._capture.isOpened() else (False, None)
        if not ok or pixels is None:
            self._capture.release()
            raise DecoderError(f"OpenCV cannot read {name_of(source)}.")
        height, width = pixels.shape[:2]
        check_pixels(source, width, height)
        self._start = self._seconds()
        fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count <= 1:  # a recording written live has no length in its header
            count = 1 + self._count_rest()
        rotation = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        fourcc = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=False)
        codec = fourcc.decode("ascii", "replace").strip("\0 ")
        self.facts = ClipFacts(
            count / fps,
            width,
            height,
            fps,
            count,
            rotation,
            "OpenCV",
            codec,
            size_of(source),
            self._start,
            (count - 1) / fps,
        )

    def _rewind(self) -> None:
        """Opens the file again: not every file can be rewound."""
        self._input: Any = opened(self._source)  # the capture itself does not keep it alive
        self._capture: Any = self._cv2.VideoCapture(self._input, self._cv2.CAP_FFMPEG, [])

    def _seconds(self) -> float:
        return float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000

    def _count_rest(self) -> int:
        count = 0
        while self._capture.grab():
            count += 1
        return count

    def frames_at(self, times_seconds: Sequence[float], max_edge: int) -> Iterator[Frame]:
        self._capture.release()
        self._rewind()
        index, current, upcoming = -1, None, self._next(-1.0)
        for time in times_seconds:
            while upcoming is not None and (current is None or upcoming[0] <= time + 1e-6):
                current, index, upcoming = upcoming, index + 1, self._next(upcoming[0])
            if current is not None:
                pixels = self._cv2.cvtColor(current[1], self._cv2.COLOR_BGR2RGB)
                yield Frame(current[0], index, scaled(pixels, max_edge), "OpenCV")

    def _next(self, after_seconds: float) -> tuple[float, Any] | None:
        """Some last frames have no time: theirs is then derived from the frame before."""
        ok, pixels = self._capture.read()
        seconds = self._seconds() - self._start
        return (max(seconds, after_seconds + min(0.001, 1 / self.facts.fps)), pixels) if ok else None

    def close(self) -> None:
        self._capture.release()

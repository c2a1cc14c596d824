"""Decoders behind one small interface: decord where it has wheels, OpenCV elsewhere or when decord fails on a file."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from smolvlm_core.errors import MediaError
from smolvlm_core.video.clip import ClipFacts, Frame

logger = logging.getLogger(__name__)

VIDEO_EXTENSIONS = ("mp4", "mov", "m4v", "mkv", "webm", "avi", "gif")
MAX_FRAME_EDGE = 1024  # px: frames are kept at this size at most; the largest tile of any SmolVLM2 is 512


class Clip(Protocol):
    """An open clip."""

    facts: ClipFacts

    def frames_at(self, times_seconds: Sequence[float]) -> Iterator[Frame]:
        """The frame on screen at each time, in order. A frame that cannot be decoded is left out."""

    def close(self) -> None: ...


class DecordClip:
    """decord 0.6.0 applies rotation metadata (measured on quarter turns); its angle is read through OpenCV for the facts."""

    def __init__(self, path: Path) -> None:
        import decord

        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
            count = len(self._reader)
            if count == 0:
                raise MediaError(f"{path.name} has no frames.", "Use another clip.")
            self._starts = [float(t) for t in self._reader.get_frame_timestamp(list(range(count)))[:, 0]]
            last_end = float(self._reader.get_frame_timestamp(count - 1)[1])
            height, width = self._reader[0].shape[:2]
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise MediaError(f"{path.name} cannot be read by decord.") from error
        duration = max(last_end, self._starts[-1]) - self._starts[0]
        self.facts = ClipFacts(
            duration, width, height, float(self._reader.get_avg_fps()), count, _rotation_of(path), "decord"
        )

    def frames_at(self, times_seconds: Sequence[float]) -> Iterator[Frame]:
        import decord

        first = self._starts[0]
        for time in times_seconds:
            index = max(0, bisect_right(self._starts, first + time + 1e-6) - 1)
            try:
                pixels = self._reader[index].asnumpy()
            except (decord.DECORDError, RuntimeError, IndexError):
                continue
            yield Frame(self._starts[index] - first, index, _to_image(pixels))

    def close(self) -> None:
        self._reader = None


class OpenCvClip:
    """OpenCV applies rotation itself. Times are those it reports, which follow the container's timestamps."""

    def __init__(self, path: Path) -> None:
        import cv2

        self._cv2, self._path = cv2, str(path)
        self._capture: Any = cv2.VideoCapture(str(path))
        ok, pixels = self._capture.read() if self._capture.isOpened() else (False, None)
        if not ok or pixels is None:
            self._capture.release()
            raise MediaError(f"{path.name} cannot be read by OpenCV.")
        height, width = pixels.shape[:2]
        fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count <= 1:  # a recording written live has no length in its header
            count = 1 + self._count_rest()
        rotation = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        self.facts = ClipFacts(count / fps, width, height, fps, count, rotation, "OpenCV")

    def _count_rest(self) -> int:
        count = 0
        while self._capture.grab():
            count += 1
        return count

    def frames_at(self, times_seconds: Sequence[float]) -> Iterator[Frame]:
        """Reads forward from the start: its seeks are not exact."""
        self._capture.release()
        self._capture = self._cv2.VideoCapture(self._path)  # not every file can be wound back
        index = -1
        held: tuple[float, int, Any] | None = None
        upcoming = self._next(index)
        for time in times_seconds:
            while upcoming is not None and upcoming[0] <= time + 1e-6:
                held, index = upcoming, upcoming[1]
                upcoming = self._next(index)
            chosen = held or upcoming
            if chosen is not None:
                yield Frame(chosen[0], chosen[1], _to_image(self._cv2.cvtColor(chosen[2], self._cv2.COLOR_BGR2RGB)))

    def _next(self, index: int) -> tuple[float, int, Any] | None:
        ok, pixels = self._capture.read()
        if not ok:
            return None
        seconds = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000
        return seconds, index + 1, pixels

    def close(self) -> None:
        self._capture.release()


def open_clip(path: Path) -> Clip:
    """Open a clip with the first decoder that can; its facts say which that was.

    Raises:
        MediaError: empty, not a clip, or no installed decoder reads it.
    """
    if not path.exists():
        raise MediaError(f"{path} is not there.", "Check the path.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty.", "Choose a file that has something in it.")
    decoders: tuple[tuple[str, Callable[[Path], Clip]], ...] = (("decord", DecordClip), ("OpenCV", OpenCvClip))
    for name, decoder in decoders:
        try:
            return decoder(path)
        except ImportError:
            logger.info("%s is not installed", name)
        except MediaError as error:
            logger.info("%s: %s", name, error)
    raise MediaError(
        f"{path.name} is not a clip that can be read, or it is damaged.", f"Use one of: {', '.join(VIDEO_EXTENSIONS)}."
    )


def _rotation_of(path: Path) -> int:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
    finally:
        capture.release()


def _to_image(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_FRAME_EDGE, MAX_FRAME_EDGE))
    return image

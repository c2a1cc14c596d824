"""The newest frame of a source, and how much of the picture changed. There is room for one frame: an older one is never asked about.

Does not know where frames come from or who asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOOK_SIZE = (32, 24)  # width and height of the small picture that is compared
CELL_CHANGE = 24  # of 255: camera noise and compression stay below this once they are averaged over a cell
Look = NDArray[np.int16]  # (24, 32, 3)


@dataclass(frozen=True, eq=False, kw_only=True)
class LiveFrame:
    """A frame that is encoded only if someone asks about it.

    Attributes:
        number: of the frames of its source, from 1.
        seconds: since the session began; of a clip, its time in the clip.
        seen: when it appeared, on the clock of `time.monotonic`.
        jpeg: makes its bytes. Raises MediaError.
    """

    number: int
    seconds: float
    seen: float
    jpeg: Callable[[], bytes]


class NewestFrame:
    """A place for one frame, between a source and a session. Used from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: LiveFrame | None = None
        self.latest: LiveFrame | None = None  # taken or not, for people to look at
        self.offered = 0
        self.replaced = 0  # frames that a newer one replaced before anyone took them
        self.last_seen: float | None = None
        self.ended = ""  # why no more frames come, as a sentence

    def offer(self, seconds: float, jpeg: Callable[[], bytes], seen: float | None = None) -> None:
        """Put in a newer frame. See `LiveFrame`."""
        with self._changed:
            if self.ended:
                return
            self.offered += 1
            self.replaced += self._frame is not None
            self.last_seen = time.monotonic() if seen is None else seen
            self._frame = self.latest = LiveFrame(number=self.offered, seconds=seconds, seen=self.last_seen, jpeg=jpeg)
            self._changed.notify_all()

    def end(self, why: str) -> None:
        """No more frames come. The one that waits can still be taken."""
        with self._changed:
            self.ended = self.ended or why
            self._changed.notify_all()

    @property
    def is_empty(self) -> bool:
        return self._frame is None

    def take(self, timeout_seconds: float) -> LiveFrame | None:
        """The newest frame, once. None where none came in time, or none comes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self.ended, timeout_seconds)
            frame, self._frame = self._frame, None
            return frame


def look_of(image: Image.Image) -> Look:
    """A small picture to compare with another one. In color: a change from red to green can have the same gray."""
    return np.asarray(image.resize(LOOK_SIZE, Image.Resampling.BOX), dtype=np.int16)


def changed_share(before: Look, after: Look) -> float:
    """How much of the picture is another one, 0 to 1: the share of cells in which a color differs clearly."""
    return float((np.abs(before - after).max(axis=2) > CELL_CHANGE).mean())

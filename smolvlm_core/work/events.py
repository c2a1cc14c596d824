"""An event of one's own that is also set when another one is. Does not know what is cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.05


class _Child(threading.Event):
    def __init__(self, parent: threading.Event) -> None:
        super().__init__()
        self._parent = parent

    def is_set(self) -> bool:
        return super().is_set() or self._parent.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        ends = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = LOOK_SECONDS if ends is None else min(LOOK_SECONDS, ends - time.monotonic())
            if left <= 0:
                return False
            super().wait(left)
        return True


@contextmanager
def child(parent: threading.Event) -> Iterator[threading.Event]:
    """For something that may set the event it is given, as a backend that fails does: the parent stays as it is."""
    yield _Child(parent)

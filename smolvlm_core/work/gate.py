"""Pause and resume. Does not know what is paused."""

from __future__ import annotations

import threading
import time

LOOK_SECONDS = 0.1


class Gate:
    """Open at first. Used from any thread."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._changing = threading.Lock()
        self._closed_at = 0.0
        self._closed_seconds = 0.0

    @property
    def is_closed(self) -> bool:
        return not self._open.is_set()

    @property
    def closed_seconds(self) -> float:
        """How long it was closed, in all."""
        with self._changing:
            return self._closed_seconds + (time.monotonic() - self._closed_at if self.is_closed else 0.0)

    def close(self) -> None:
        with self._changing:
            if not self.is_closed:
                self._closed_at = time.monotonic()
                self._open.clear()

    def open(self) -> None:
        with self._changing:
            if self.is_closed:
                self._closed_seconds += time.monotonic() - self._closed_at
                self._open.set()

    def wait(self, cancel: threading.Event) -> bool:
        """Wait until it is open. False where `cancel` was set first."""
        while not self._open.wait(LOOK_SECONDS) and not cancel.is_set():
            pass
        return not cancel.is_set()

"""Whose turn it is on a device: comparisons measure there, and checks would slow them down. Does not know what is done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class DeviceLocks:
    """One lock for each device, by name. Used from any thread."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def acquire(self, device: str, cancel: threading.Event, waiting: Callable[[], None]) -> Iterator[bool]:
        """Wait until the device is free, and take it. Yields False where cancelled first.

        `waiting` is called while another job has the device.
        """
        with self._guard:
            lock = self._locks.setdefault(device, threading.Lock())
        mine = not cancel.is_set() and lock.acquire(blocking=False)
        while not mine and not cancel.is_set():
            waiting()
            mine = lock.acquire(timeout=0.2)
        try:
            yield mine
        finally:
            if mine:
                lock.release()

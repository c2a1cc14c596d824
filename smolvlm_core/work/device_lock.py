"""Whose turn it is on a device: comparisons measure there, and checks would slow them down. Does not know what is done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from smolvlm_core.backends.base import Backend

HERE = "this machine"
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def device_of(backend: Backend) -> str:
    """Where it computes: this machine, or a host by name."""
    host = urlsplit(getattr(backend, "url", "")).hostname or "localhost"
    return HERE if host in ("localhost", "127.0.0.1", "::1") else host


@contextlib.contextmanager
def turn(device: str, cancel: threading.Event, waiting: Callable[[], None]) -> Iterator[bool]:
    """Wait until nobody else has the device, and have it; False where cancelled before. `waiting` is called while it
    is someone else's."""
    with _guard:
        lock = _locks.setdefault(device, threading.Lock())
    mine = not cancel.is_set() and lock.acquire(blocking=False)
    while not mine and not cancel.is_set():
        waiting()
        mine = lock.acquire(timeout=0.2)
    try:
        yield mine
    finally:
        if mine:
            lock.release()

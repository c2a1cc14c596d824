"""So many at once. Does not know what is done in a slot. Of several threads that wait, any comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable

LOOK_SECONDS = 0.1


class Slots:
    """Used from any thread."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self._taken = 0

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, cancel: threading.Event, waiting: Callable[[int], None]) -> bool:
        """Wait for a slot, which must be given back. False where `cancel` ended the wait.

        `waiting` gets how many are taken, again and again.
        """
        with self._changed:
            if not self._wait(self._count - 1, cancel, waiting):
                return False
            self._taken += 1
            return True

    def give(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def wait_until_empty(self, cancel: threading.Event, waiting: Callable[[int], None]) -> bool:
        """As `take`, until none is taken; takes none."""
        with self._changed:
            return self._wait(0, cancel, waiting)

    def _wait(self, most: int, cancel: threading.Event, waiting: Callable[[int], None]) -> bool:
        while self._taken > most and not cancel.is_set():
            waiting(self._taken)
            self._changed.wait(LOOK_SECONDS)
        return not cancel.is_set()

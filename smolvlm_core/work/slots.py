"""So many at once, first come first served. Does not know what is done in a slot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

LOOK_SECONDS = 0.1
# Gets the event that ends the wait and a listener for how many are before; False where the event ended it.
Wait = Callable[[threading.Event, Callable[[int], None]], bool]


class Slots:
    """Used from any thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Condition()
        self._taken = 0
        self._waiting: deque[object] = deque()

    def take(self, cancel: threading.Event, waiting: Callable[[int], None]) -> bool:
        """Wait for a slot. Each that is taken must be given back."""
        mine = object()
        with self._changed:
            self._waiting.append(mine)
            try:
                while self._taken >= self.count or self._waiting[0] is not mine:
                    if cancel.is_set():
                        return False
                    waiting(self._waiting.index(mine) + self._taken)
                    self._changed.wait(LOOK_SECONDS)
                if cancel.is_set():
                    return False
                self._taken += 1
                return True
            finally:
                self._waiting.remove(mine)
                self._changed.notify_all()

    def give(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def wait_until_empty(self, cancel: threading.Event, waiting: Callable[[int], None]) -> bool:
        with self._changed:
            while self._taken:
                if cancel.is_set():
                    return False
                waiting(self._taken)
                self._changed.wait(LOOK_SECONDS)
        return True

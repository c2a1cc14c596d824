"""Wrong passwords, counted: too many from one address, or for one name, and no more are tried for a while. Pure but for the clock.

A try counts as wrong from its beginning: many that are sent at once count one by one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_SECONDS = 15 * 60.0
PER_ADDRESS = 5
PER_NAME = 50  # more, because strangers can use it up: it only makes guessing from many addresses pointless
MOST_KEPT = 10_000


class Attempts:
    """Used from any thread. Kept in memory: a restart forgets them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, list[tuple[float, str]]] = (
            OrderedDict()
        )  # (when, name), least recently tried first

    def begin(self, address: str, name: str) -> float:
        """Count a try as wrong. Returns how long until it is allowed: it is not counted then; 0 for now."""
        limits = ((f"address {address}", PER_ADDRESS), (f"name {name}", PER_NAME))
        with self._lock:
            if (wait := max(self._wait(key, most) for key, most in limits)) > 0:
                return wait
            for key, most in limits:
                self._wrong[key] = [*self._wrong.pop(key, []), (self._clock(), name)][-most:]
            while len(self._wrong) > MOST_KEPT:
                self._wrong.popitem(last=False)
            return 0.0

    def succeeded(self, address: str, name: str) -> None:
        """Forget the tries for this name from this address. Those for others count on: a user who guesses is no less a stranger."""
        with self._lock:
            if tries := self._wrong.get(f"name {name}"):
                tries.pop()
            if tries := self._wrong.get(f"address {address}"):
                self._wrong[f"address {address}"] = [(when, other) for when, other in tries if other != name]

    def _wait(self, key: str, most: int) -> float:
        tries = self._wrong.get(key, ())
        return max(0.0, tries[-most][0] + WINDOW_SECONDS - self._clock()) if len(tries) >= most else 0.0

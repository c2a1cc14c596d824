"""Wrong passwords, counted: too many from one address, or for one name, and no more are tried for a while. Pure but for the clock."""

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
        self._failed: OrderedDict[str, list[float]] = OrderedDict()  # least recently failed first

    def wait_seconds(self, address: str, name: str) -> float:
        """How long until the next try; 0 for now."""
        with self._lock:
            return max(self._wait(f"address {address}", PER_ADDRESS), self._wait(f"name {name}", PER_NAME))

    def failed(self, address: str, name: str) -> None:
        with self._lock:
            for key, most in ((f"address {address}", PER_ADDRESS), (f"name {name}", PER_NAME)):
                self._failed[key] = [*self._failed.pop(key, []), self._clock()][-most:]
            while len(self._failed) > MOST_KEPT:
                self._failed.popitem(last=False)

    def succeeded(self, address: str) -> None:
        with self._lock:
            self._failed.pop(f"address {address}", None)

    def _wait(self, key: str, most: int) -> float:
        times = self._failed.get(key, ())
        return max(0.0, times[-most] + WINDOW_SECONDS - self._clock()) if len(times) >= most else 0.0

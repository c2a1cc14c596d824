"""How fast work gets done, by what was finished last. Does not know what the work is."""

from __future__ import annotations

import threading
import time
from collections import deque

from smolvlm_core.work.gate import Gate

LAST = 100


class Rate:
    """Used from any thread. Pauses, while the gate is closed, do not count."""

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate or Gate()
        self._times: deque[float] = deque(maxlen=LAST + 1)
        self._lock = threading.Lock()

    def mark(self) -> None:
        """The work begins, or one more is done."""
        with self._lock:
            self._times.append(self._clock())

    @property
    def per_second(self) -> float | None:
        """Of the last LAST; None before the first is done."""
        with self._lock:
            if len(self._times) < 2:
                return None
            return (len(self._times) - 1) / max(self._clock() - self._times[0], 1e-6)

    def seconds_left(self, count: int) -> float | None:
        """For `count` more; None where that is unknown."""
        rate = self.per_second
        return None if rate is None else count / rate

    def _clock(self) -> float:
        return time.monotonic() - self._gate.closed_seconds

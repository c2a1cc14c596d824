"""How many requests run and wait at once. Used from the event loop only. Does not know what a request is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from smolvlm_core.api.errors import ApiError

SMOOTHING = 0.2  # weight of the newest answer in the average time


class Places:
    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._average_seconds = 1.0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Raises ApiError (429) where all are taken. Retry-After says when one is likely to be free."""
        if self.taken >= self.count:
            wait = str(max(1, round(self._average_seconds)))
            hint = f"Ask again in {wait} s, or start the server with a larger --max-requests."
            raise ApiError(
                429, "queue_full", f"{self.taken} requests run and wait.", hint, headers={"Retry-After": wait}
            )
        self.taken += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.taken -= 1
            self._average_seconds += SMOOTHING * (time.monotonic() - began - self._average_seconds)

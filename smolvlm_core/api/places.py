"""How many requests run and wait at once. Used from the event loop only. Does not know what a request is."""

from __future__ import annotations

import time

from smolvlm_core.api.errors import ApiError

SMOOTHING = 0.2  # weight of the newest answer in the average time


class Places:
    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._average_seconds = 1.0

    def take(self) -> float:
        """When the place was taken, for `give`. Raises ApiError (429) where all are taken; Retry-After is the average time."""
        if self.taken >= self.count:
            wait = str(max(1, round(self._average_seconds)))
            hint = f"Ask again in {wait} s, or start the server with a larger --max-requests."
            raise ApiError(
                429, "queue_full", f"{self.taken} requests run and wait.", hint, headers={"Retry-After": wait}
            )
        self.taken += 1
        return time.monotonic()

    def give(self, taken: float, *, answered: bool) -> None:
        """`answered`: refusals take no time and do not count in the average."""
        self.taken -= 1
        if answered:
            self._average_seconds += SMOOTHING * (time.monotonic() - taken - self._average_seconds)

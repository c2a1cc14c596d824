"""How many requests run and wait at once. Used from the event loop only. Does not know what a request is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from smolvlm_core.api.errors import ApiError

SMOOTHING = 0.2  # weight of the newest answer in the average time


class Places:
    """`count` of all users together, `of_user` of each: asked at each use."""

    def __init__(self, count: int, of_user: Callable[[], int] | None = None) -> None:
        self.count, self._of_user = count, of_user
        self._users: Counter[str] = Counter()
        self._average_seconds = 1.0

    @property
    def taken(self) -> int:
        return self._users.total()

    def take(self, user: str = "") -> float:
        """When the place was taken, for `give`. `user`: "" for one without a limit of their own.

        Raises:
            ApiError: 429: all are taken, or all of this user. Retry-After is the average time of an answer.
        """
        if self.taken >= self.count:
            raise self._full(f"{self.taken} requests run and wait.", "start the server with a larger --max-requests")
        if user and self._of_user is not None and self._users[user] >= self._of_user():
            raise self._full(f"{self._users[user]} of your requests run and wait.", "let an admin raise the limit")
        self._users[user] += 1
        return time.monotonic()

    def _full(self, problem: str, otherwise: str) -> ApiError:
        wait = str(max(1, round(self._average_seconds)))
        hint = f"Ask again in {wait} s, or {otherwise}."
        return ApiError(429, "queue_full", problem, hint, headers={"Retry-After": wait})

    def give(self, taken: float, user: str = "", *, answered: bool) -> None:
        """`answered`: refusals take no time and do not count in the average."""
        self._users[user] -= 1
        self._users += Counter()  # drops users without any
        if answered:
            self._average_seconds += SMOOTHING * (time.monotonic() - taken - self._average_seconds)

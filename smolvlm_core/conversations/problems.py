"""What could not be read or was repaired in a data folder, for people. Does not know files."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger(__name__)
MOST = 100


class Problems:
    """Each sentence once, the oldest first; the first MOST of them. Used from any thread. Each goes to the log too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, None] = {}

    def add(self, problem: str) -> None:
        with self._lock:
            if problem in self._found or len(self._found) >= MOST:
                return
            self._found[problem] = None
        logger.warning("%s", problem)

    def all(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._found)

"""Long work in the background that any page can find again: what it says of itself, its result or its error.

Knows nothing of what the work is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from smolvlm_core.errors import LensError

logger = logging.getLogger(__name__)
Report = Callable[[str, float | None], None]
Work = Callable[[Report, threading.Event], Any]  # the event asks it to stop


class Job:
    """One piece of work on its own thread. `error` is what a user can act on; `problem` tells bugs too."""

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self.cancel = threading.Event()
        self.text = "Starting"
        self.fraction: float | None = None
        self.error: LensError | None = None
        self._bug: BaseException | None = None
        self._result: Any = None
        self._work = work
        self._thread = threading.Thread(target=self._run, name=f"job-{name}", daemon=True)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def problem(self) -> str | None:
        """What went wrong, in words; None where nothing did."""
        if self._bug is not None:
            return f"It failed unexpectedly: {self._bug!r}. The log has the details."
        return str(self.error) if self.error is not None else None

    @property
    def result(self) -> Any:
        """What the work returned. Raises what it raised."""
        if (raised := self._bug or self.error) is not None:
            raise raised
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work(self._report, self.cancel)
        except LensError as error:
            self.error = error
        except BaseException as error:
            logger.exception("%s failed", self.name)
            self._bug = error

    def _report(self, text: str, fraction: float | None) -> None:
        self.text, self.fraction = text, fraction


_jobs: dict[str, Job] = {}
_lock = threading.Lock()


def start(name: str, work: Work) -> Job:
    """Start some work under a name; where work of that name still runs, that is returned instead."""
    with _lock:
        job = _jobs.get(name)
        if job is None or job.done:
            job = _jobs[name] = Job(name, work)
            job._thread.start()
        return job


def find(name: str) -> Job | None:
    with _lock:
        return _jobs.get(name)


def named(prefix: str) -> list[Job]:
    with _lock:
        return [job for name, job in _jobs.items() if name.startswith(prefix)]


def drop(name: str) -> None:
    """Forget work; where it still runs, it is asked to stop."""
    with _lock:
        job = _jobs.pop(name, None)
    if job is not None:
        job.cancel.set()

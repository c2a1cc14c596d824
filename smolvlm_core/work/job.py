"""Long work in the background that any page can find again: its progress, its result or its error. Does not know what the work is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from smolvlm_core.errors import LensError
from smolvlm_core.work.report import Report

logger = logging.getLogger(__name__)
Work = Callable[[Report, threading.Event], Any]  # the event asks it to stop


class Job:
    """One piece of work on its own thread. `text` and `fraction` (0 to 1, or None) are its progress.

    `error` is an error a user can act on; `problem` describes bugs too.
    """

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

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout_seconds: float | None = None) -> None:
        self._thread.join(timeout_seconds)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def problem(self) -> str | None:
        """What went wrong, in words; None where nothing did or it still runs."""
        if self._bug is not None:
            return f"It failed unexpectedly: {self._bug!r}. The log has the details."
        return str(self.error) if self.error is not None else None

    @property
    def result(self) -> Any:
        """What the work returned. Raises what the work raised."""
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


class Running:
    """What a job does, for those who watch it. `job` is set by whoever starts it."""

    job: Job

    @property
    def is_running(self) -> bool:
        return not self.job.done

    @property
    def was_stopped(self) -> bool:
        return self.job.cancel.is_set()

    @property
    def problem(self) -> str | None:
        """Why it ended early, in words."""
        return self.job.problem if self.job.done else None

    def stop(self) -> None:
        """What is done stays; what is being done is dropped."""
        self.job.cancel.set()


class Jobs:
    """The jobs of a process, by name. Used from any thread."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, name: str, work: Work) -> Job:
        """Start work under a name. Where a job of that name still runs, that one is returned instead."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or job.done:
                job = self._jobs[name] = Job(name, work)
                job.start()
            return job

    def find(self, name: str) -> Job | None:
        with self._lock:
            return self._jobs.get(name)

    def with_prefix(self, prefix: str) -> list[Job]:
        with self._lock:
            return [job for name, job in self._jobs.items() if name.startswith(prefix)]

    def is_running(self, *prefixes: str) -> bool:
        """Whether a job whose name starts with one of the prefixes still runs."""
        return any(not job.done for prefix in prefixes for job in self.with_prefix(prefix))

    def drop(self, name: str) -> None:
        """Forget a job. One that still runs is asked to stop."""
        with self._lock:
            job = self._jobs.pop(name, None)
        if job is not None:
            job.cancel.set()

"""One thread that owns one model. Everyone else hands it jobs; they run one after another, in the order they came."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Job:
    """One piece of work and its place in the queue."""

    def __init__(self, work: Callable[[], None], cancel: threading.Event) -> None:
        self.work, self.cancel = work, cancel
        self.finished = threading.Event()


class Worker:
    """Starts its thread with the first job and ends it with `close`."""

    _numbers = itertools.count(1)

    def __init__(self, name: str) -> None:
        self._name = f"{name}-{next(self._numbers)}"
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], None], cancel: threading.Event | None = None) -> Job:
        """Queue some work. It is called even when cancelled while waiting, so that it can say so.

        Raises:
            RuntimeError: the worker is closed.
        """
        job = Job(work, cancel or threading.Event())
        with self._changed:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def ahead_of(self, job: Job) -> int:
        """How many jobs run before this one, the running one included; 0 once it runs."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def drop(self, job: Job) -> bool:
        """Take a waiting job out of the queue; False where it runs or has run already."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
        job.finished.set()
        return True

    @property
    def busy(self) -> bool:
        with self._changed:
            return self._running is not None or bool(self._waiting)

    def close_if_idle(self) -> bool:
        """Close unless a job runs or waits, in one step: no job can slip in between."""
        with self._changed:
            if self._running is not None or self._waiting:
                return False
            self._closed = True
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """Cancel what waits and what runs, and wait for the thread to end."""
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *([self._running] if self._running else [])):
                job.cancel.set()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                self._running = self._waiting.popleft()
            job = self._running
            try:
                job.work()
            except Exception:
                logger.exception("a job of %s failed", self._name)  # a bug: the next job must still run
            finally:
                job.finished.set()
                del job

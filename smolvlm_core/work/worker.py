"""One thread that owns one model. Others hand it tasks, which run one after another in the order they came."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)
PRIORITY_STEPS = (
    5  # of 19; with 5, a busy thread at normal priority gets three times as much time (Linux, sched-nice-design)
)


class Task:
    """One piece of work in the queue. `finished` is set once it ran or was dropped."""

    def __init__(self, work: Callable[[], None], cancel: threading.Event) -> None:
        self.work, self.cancel = work, cancel
        self.finished = threading.Event()


class Worker:
    """Starts its thread with the first task, and ends it with `close`."""

    _numbers = itertools.count(1)

    def __init__(self, name: str) -> None:
        self._name = f"{name}-{next(self._numbers)}"
        self._waiting: deque[Task] = deque()
        self._running: Task | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._held = 0
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], None], cancel: threading.Event | None = None) -> Task:
        """Queue work. It is called even if it was cancelled while waiting, so that it can report that.

        Raises:
            RuntimeError: the worker is closed.
        """
        task = Task(work, cancel or threading.Event())
        with self._changed:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            self._waiting.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return task

    def ahead_of(self, task: Task) -> int:
        """How many tasks run before this one, the running one included. 0 once it runs."""
        with self._changed:
            if task not in self._waiting:
                return 0
            return self._waiting.index(task) + (self._running is not None)

    def drop(self, task: Task) -> bool:
        """Take a waiting task out of the queue. False where it already runs or ran."""
        with self._changed:
            if task not in self._waiting:
                return False
            self._waiting.remove(task)
        task.finished.set()
        return True

    @property
    def busy(self) -> bool:
        with self._changed:
            return self._is_busy()

    def _is_busy(self) -> bool:
        return self._running is not None or bool(self._waiting) or self._held > 0

    def hold(self) -> None:
        """Count as busy until `let_go`: an answer goes on after its task."""
        with self._changed:
            self._held += 1

    def let_go(self) -> None:
        with self._changed:
            self._held -= 1

    def close_if_idle(self) -> bool:
        """Close unless it is busy, in one step: no task can be added in between."""
        with self._changed:
            if self._is_busy():
                return False
            self._closed = True
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """Cancel what waits and what runs, and wait until the thread has ended."""
        with self._changed:
            self._closed = True
            for task in (*self._waiting, *([self._running] if self._running else [])):
                task.cancel.set()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        _yield_to_others()
        while True:
            with self._changed:
                self._running = None
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                self._running = self._waiting.popleft()
            task = self._running
            try:
                task.work()
            except Exception:
                logger.exception("a task of %s failed", self._name)  # a bug: the next task must still run
            finally:
                task.finished.set()
                del task


def _yield_to_others() -> None:
    """Lower the priority of this thread, and of those that torch starts from it: pages and requests stay quick while it computes.

    On Linux only: elsewhere a priority is that of the whole process.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + PRIORITY_STEPS)

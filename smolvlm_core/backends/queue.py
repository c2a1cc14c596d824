"""Answers computed one after another on a worker thread, followed from the asker's thread.

Knows queues and cancels. Does not know what computes the answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.prompt.generation import Event, Progress, Stats
from smolvlm_core.work.pool import Handle
from smolvlm_core.work.report import Report
from smolvlm_core.work.worker import Task


class Run(Protocol):
    """One answer. `work` runs on the worker thread and puts events into `events`: Stats last, always, with the stop reason
    "failed" before an exception. `goes_on`: events still come after `work` has returned."""

    asked: float
    goes_on: bool
    events: queue.SimpleQueue[Event | BaseException]

    def work(self) -> None: ...


class Start:
    """Like a Run, but it only loads a model or starts a server. `start` is called on the worker thread."""

    def __init__(self, start: Callable[[Report], object], cancel: threading.Event) -> None:
        self._start, self._cancel, self.goes_on = start, cancel, False
        self.asked = time.perf_counter()
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()

    def work(self) -> None:
        try:
            self._start(lambda text, share: self.events.put(Progress(text, share)))
        except LensError as error:
            cancelled = self._cancel.is_set()
            self.events.put(Stats("cancelled" if cancelled else "failed"))
            self.events.put(error)
        else:
            self.events.put(Stats("end"))


L = TypeVar("L")


def follow(
    get_handle: Callable[[], Handle[L]], make_run: Callable[[Handle[L]], Run], cancel: threading.Event
) -> Iterator[Event]:
    """Queue a run and yield its events. A consumer that stops listening cancels it."""
    handle, run, task = _submit(get_handle, make_run, cancel)
    done = False
    try:
        place = -1
        while not done:
            try:
                item = run.events.get(timeout=0.1)
            except queue.Empty:
                ahead = handle.worker.ahead_of(task)
                if handle.state == "loading":
                    yield Progress(handle.status_text, handle.status_fraction)
                elif ahead and ahead != place:
                    place = ahead
                    yield Progress(f"Waiting: {ahead} before you")
                ended = task.finished.is_set() and not run.goes_on
                if ended and run.events.empty():  # a bug, which the worker has logged
                    done = True
                    yield Stats("failed", total_seconds=time.perf_counter() - run.asked)
                    raise BackendError(
                        "The answer ended unexpectedly.", "The log has the details; ask again."
                    ) from None
                if cancel.is_set() and handle.worker.drop(task):
                    done = True
                    yield Stats("cancelled", total_seconds=time.perf_counter() - run.asked)
                continue
            if isinstance(item, BaseException):
                done = True
                raise item
            done = isinstance(item, Stats) and item.stop_reason != "failed"
            yield item
    finally:
        if not done:  # nobody is listening any more
            cancel.set()


def _submit(
    get_handle: Callable[[], Handle[L]], make_run: Callable[[Handle[L]], Run], cancel: threading.Event
) -> tuple[Handle[L], Run, Task]:
    while True:
        handle = get_handle()
        run = make_run(handle)
        try:
            return handle, run, handle.worker.submit(run.work, cancel)
        except RuntimeError:
            continue  # released between the two lines: the pool makes a new handle

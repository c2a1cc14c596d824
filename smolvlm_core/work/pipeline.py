"""Items to results: prepares items while others are asked about, and asks about several at once. Does not know what they are."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from smolvlm_core.work.gate import LOOK_SECONDS, Gate
from smolvlm_core.work.slots import Slots

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Result = TypeVar("Result")

AHEAD = 4  # items that are prepared, or being prepared, beyond those that are asked
CLOSE_SECONDS = 5.0  # for cancelled answers to end
PREPARING = 2  # at once: decoders use several threads themselves
DECODED_BYTES = 512 * 2**20  # no item is prepared while more is decoded: one clip can have 150 MB


class Pipeline(Generic[Item, Ready, Result]):
    """At most `parallel` + `AHEAD` items are in memory, and fewer where they are large.

    Args:
        prepare: reads and decodes an item. Its event is set where the run ends.
        ask: makes the result of a prepared item; None where its event was set first.
        gave_up: the result of an item that `ask` made none of, although the run goes on.
        size_of: the decoded bytes of a prepared item.
        parallel: how many items are asked about at once.
        gate: while it is closed, no further item is asked about.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[Item, threading.Event], Ready],
        ask: Callable[[Ready, threading.Event], Result | None],
        gave_up: Callable[[Ready], Result],
        size_of: Callable[[Ready], int],
        parallel: int,
        gate: Gate,
    ) -> None:
        if parallel < 1:
            raise ValueError(f"parallel is {parallel}; at least 1 is needed")
        self.prepare, self.ask, self.gave_up, self.size_of = prepare, ask, gave_up, size_of
        self.parallel, self.gate = parallel, gate

    def run(self, items: Iterable[Item], cancel: threading.Event) -> Iterator[Result]:
        """The results in any order, one for each item unless the event is set.

        Raises what a bug raises, after the results that are finished.
        """
        return _Run(self, iter(items)).results(cancel)


class _Run(Generic[Item, Ready, Result]):
    """Each worker takes an item, prepares it, asks about it, and takes the next.

    Answers get events of their own to be cancelled by: a backend may set the one it is given when it fails.
    """

    def __init__(self, pipeline: Pipeline[Item, Ready, Result], items: Iterator[Item]) -> None:
        self._pipeline, self._items = pipeline, items
        self._preparing, self._asking = Slots(PREPARING), Slots(pipeline.parallel)
        self._working = pipeline.parallel + AHEAD
        self._results: queue.Queue[Result] = queue.Queue(self._working)
        self._taking = threading.Lock()
        self._state = threading.Condition()  # guards what follows
        self._cancels: dict[threading.Event, int] = {}  # of the items at work, with their decoded bytes
        self._bug: BaseException | None = None
        self._ending = threading.Event()  # take no further item
        self._closed = threading.Event()  # nobody reads results any more

    def results(self, cancel: threading.Event) -> Iterator[Result]:
        for number in range(self._working):
            threading.Thread(target=self._work, name=f"pipeline-{number}", daemon=True).start()
        try:
            while not self._is_over():
                if cancel.is_set():
                    self._end()
                try:
                    result = self._results.get(timeout=LOOK_SECONDS)
                except queue.Empty:
                    continue
                yield result
        finally:
            self._closed.set()
            self._end()
            with self._state:
                self._state.wait_for(lambda: not self._cancels, CLOSE_SECONDS)
        if self._bug is not None:
            raise self._bug

    def _is_over(self) -> bool:
        """A worker that waits for the next item, which may take long, does not count once the run ends."""
        with self._state:
            idle = not self._working or (self._ending.is_set() and not self._cancels)
        return idle and self._results.empty()

    def _end(self) -> None:
        """Take no further item, and cancel what runs."""
        with self._state:
            self._ending.set()
            self._state.notify_all()
            for cancel in self._cancels:
                cancel.set()

    def _work(self) -> None:
        try:
            while self._finish_one():
                pass
        except BaseException as bug:  # raised again where the results are read
            with self._state:
                self._bug = self._bug or bug
            self._end()
        finally:
            with self._state:
                self._working -= 1

    def _finish_one(self) -> bool:
        """Take an item and make its result. False where there is none, or the run ends."""
        cancel = threading.Event()
        try:
            taken = self._prepare_next(cancel)
            if taken is None:
                return False
            results = self._ask(taken[0], cancel)
            for result in results:
                self._hand_on(result)
            return True
        finally:
            with self._state:
                self._cancels.pop(cancel, None)
                self._state.notify_all()

    def _prepare_next(self, cancel: threading.Event) -> tuple[Ready] | None:
        if not self._preparing.take(self._ending, _nobody_watches):
            return None
        try:
            taken = self._begin_next(cancel)
            if taken is None:
                return None
            ready = self._pipeline.prepare(taken[0], cancel)
            with self._state:
                self._cancels[cancel] = self._pipeline.size_of(ready)
            return (ready,)
        finally:
            self._preparing.give()

    def _begin_next(self, cancel: threading.Event) -> tuple[Item] | None:
        """Take an item, once there is room for it. None where there is none, or the run ends."""
        with self._state:
            self._state.wait_for(lambda: self._ending.is_set() or sum(self._cancels.values()) < DECODED_BYTES)
        with self._taking:
            if self._ending.is_set():
                return None
            try:
                item = next(self._items)
            except StopIteration:
                return None
        with self._state:
            if self._ending.is_set():
                return None
            self._cancels[cancel] = 0
            return (item,)

    def _ask(self, ready: Ready, cancel: threading.Event) -> tuple[Result, ...]:
        """None where the run ends."""
        if not self._asking.take(self._ending, _nobody_watches):
            return ()
        try:
            if not self._pipeline.gate.wait(self._ending):
                return ()
            result = self._pipeline.ask(ready, cancel)
        finally:
            self._asking.give()
        if result is None:
            return () if self._ending.is_set() else (self._pipeline.gave_up(ready),)
        return (result,)

    def _hand_on(self, result: Result) -> None:
        while not self._closed.is_set():
            try:
                return self._results.put(result, timeout=LOOK_SECONDS)
            except queue.Full:
                continue


def _nobody_watches(taken: int) -> None:
    return

"""The engine of this machine: prepares items while the backend answers others, and asks several at once.

Knows the plan and a backend. Does not know results, progress or who asks.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from smolvlm_core.backends.base import Backend
from smolvlm_core.batch.answer import Prepared, ask, prepare
from smolvlm_core.batch.engine import load
from smolvlm_core.batch.gate import LOOK_SECONDS, Gate
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.errors import LensError
from smolvlm_core.media import decoded_bytes
from smolvlm_core.prompt.generation import Progress
from smolvlm_core.work.slots import Slots

PARALLEL = 8
AHEAD = 4  # items that are prepared, or being prepared, beyond those that are asked
CLOSE_SECONDS = 5.0  # for cancelled answers to end
PREPARING = 2  # at once: decoders use several threads themselves
DECODED_BYTES = 512 * 2**20  # no item is prepared while more is decoded: one clip can have 150 MB


class LocalEngine:
    """At most `parallel` + `AHEAD` items are in memory, and fewer where they are large.

    Args:
        parallel: how many items the backend is asked about at once. Those that answer one after another queue them.
        gate: while it is closed, no further item is asked.
        loading: gets what happens while the model is loaded, before the first item is taken.
    """

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        *,
        parallel: int = PARALLEL,
        gate: Gate | None = None,
        loading: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        if parallel < 1:
            raise ValueError(f"parallel is {parallel}; at least 1 is needed")
        self.plan, self.backend, self.parallel = plan, backend, parallel
        self.gate, self._loading = gate or Gate(), loading

    def __call__(self, items: Iterable[Item], cancel: threading.Event) -> Iterator[Record]:
        """Raises LensError where the model cannot be loaded, and what a bug raises, after the records that are finished."""
        try:
            load(self.backend, self.plan, cancel, self._loading)
        except LensError:
            if cancel.is_set():
                return
            raise
        yield from _Run(self, iter(items)).records(cancel)


class _Run:
    """One run of the engine. Each worker takes an item, prepares it, asks about it, and takes the next.

    Answers get events of their own to be cancelled by: a backend may set the one it is given when it fails.
    """

    def __init__(self, engine: LocalEngine, items: Iterator[Item]) -> None:
        self._plan, self._backend, self._gate, self._items = engine.plan, engine.backend, engine.gate, items
        self._preparing, self._asking = Slots(PREPARING), Slots(engine.parallel)
        self._working = engine.parallel + AHEAD
        self._records: queue.Queue[Record] = queue.Queue(self._working)
        self._taking = threading.Lock()
        self._state = threading.Condition()  # guards what follows
        self._cancels: dict[threading.Event, int] = {}  # of the items at work, with their decoded bytes
        self._bug: BaseException | None = None
        self._ending = threading.Event()  # take no further item
        self._closed = threading.Event()  # nobody reads records any more

    def records(self, cancel: threading.Event) -> Iterator[Record]:
        for number in range(self._working):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()
        try:
            while not self._is_over():
                if cancel.is_set():
                    self._end()
                if (record := self._next_record()) is not None:
                    yield record
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
        return idle and self._records.empty()

    def _next_record(self) -> Record | None:
        try:
            return self._records.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return None

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
        except BaseException as bug:  # raised again where the records are read
            with self._state:
                self._bug = self._bug or bug
            self._end()
        finally:
            with self._state:
                self._working -= 1

    def _finish_one(self) -> bool:
        """Take an item and turn it into a record. False where there is none, or the run ends."""
        cancel = threading.Event()
        try:
            prepared = self._prepare_next(cancel)
            if prepared is None:
                return False
            if (record := self._ask(prepared, cancel)) is not None:
                self._hand_on(record)
            return True
        finally:
            with self._state:
                self._cancels.pop(cancel, None)
                self._state.notify_all()

    def _prepare_next(self, cancel: threading.Event) -> Prepared | None:
        if not self._preparing.take(self._ending, _nobody_watches):
            return None
        try:
            if (item := self._begin_next(cancel)) is None:
                return None
            prepared = prepare(item, self._plan, self._backend, cancel)
            with self._state:
                self._cancels[cancel] = _decoded_bytes(prepared)
            return prepared
        finally:
            self._preparing.give()

    def _begin_next(self, cancel: threading.Event) -> Item | None:
        """Take an item, once there is room for it. None where there is none, or the run ends."""
        with self._state:
            self._state.wait_for(lambda: self._ending.is_set() or sum(self._cancels.values()) < DECODED_BYTES)
        with self._taking:
            item = None if self._ending.is_set() else next(self._items, None)
        with self._state:
            if item is None or self._ending.is_set():
                return None
            self._cancels[cancel] = 0
            return item

    def _ask(self, prepared: Prepared, cancel: threading.Event) -> Record | None:
        """None where the run ends."""
        if not self._asking.take(self._ending, _nobody_watches):
            return None
        try:
            if not self._gate.wait(self._ending):
                return None
            record = ask(prepared, self._plan, self._backend, cancel)
        finally:
            self._asking.give()
        if record is None and not self._ending.is_set():  # a backend that gave up by itself
            return replace(prepared.record, error="The answer ended before it was complete.", finished=time.time())
        return record

    def _hand_on(self, record: Record) -> None:
        while not self._closed.is_set():
            try:
                return self._records.put(record, timeout=LOOK_SECONDS)
            except queue.Full:
                continue


def _decoded_bytes(prepared: Prepared) -> int:
    return sum(decoded_bytes(slot.open()) for slot in prepared.prompt.slots) if prepared.prompt is not None else 0


def _nobody_watches(taken: int) -> None:
    return

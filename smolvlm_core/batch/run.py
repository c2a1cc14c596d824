"""A batch: which items are new, what an engine answers, where it goes, and how far it is. Does not know how engines answer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from smolvlm_core.batch.engine import Engine
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.results import Results, key_of
from smolvlm_core.batch.sidecars import Sidecars
from smolvlm_core.times import duration_text
from smolvlm_core.work.gate import Gate
from smolvlm_core.work.rate import Rate
from smolvlm_core.work.report import Report

REPORT_SECONDS = 0.2
CUT_OFF = ("length", "context")


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """Where a batch stands.

    Attributes:
        total: items of the inputs; None while they are read.
        skipped: answered in an earlier run.
        answered, failed: in this run.
        cut_off: of the answered ones, those that reached the limit of tokens or the context's end.
        current: the name of the item that was begun last.
        items_per_second, seconds_left: by the last items, without pauses; None where unknown.
    """

    total: int | None = None
    skipped: int = 0
    answered: int = 0
    failed: int = 0
    cut_off: int = 0
    current: str = ""
    items_per_second: float | None = None
    seconds_left: float | None = None
    is_paused: bool = False

    @property
    def done(self) -> int:
        return self.skipped + self.answered + self.failed

    @property
    def remaining(self) -> int | None:
        return None if self.total is None else self.total - self.done

    def describe(self) -> str:
        """One line, for people."""
        if self.total is None:
            return "Reading the inputs"
        parts = [f"{self.done} of {self.total}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.is_paused:
            return " · ".join([*parts, "paused"])
        if self.items_per_second is not None:
            parts.append(f"{self.items_per_second:.3g} items/s")
        if self.seconds_left is not None:
            parts.append(f"{duration_text(self.seconds_left)} left")
        return " · ".join(parts)


@dataclass(kw_only=True)
class _Counts:
    """Counted by the thread that runs the batch; read by any."""

    total: int | None = None
    skipped: int = 0
    current: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)


class Batch:
    """One run over some inputs. `run` is for a Job, or for a thread that waits; everything else may be used from any thread.

    Args:
        items: in the order in which they are asked; read once, before the first is asked.
        results: open; whoever opened it closes it.
        gate: the engine's, where it has one, so that a pause also stops what it has prepared.
        on_record: gets each record once it is stored.
        again: answers whose items are asked again although they are answered, by `key_of`. They stay until the model is loaded.
    """

    def __init__(
        self,
        items: Iterable[Item],
        plan: Plan,
        engine: Engine,
        results: Results,
        *,
        sidecars: Sidecars | None = None,
        gate: Gate | None = None,
        on_record: Callable[[Record], None] = lambda record: None,
        again: Mapping[bytes, Record] | None = None,
    ) -> None:
        self.plan, self.results, self.sidecars = plan, results, sidecars
        self._items, self._engine, self._on_record = items, engine, on_record
        self._gate, self._fingerprint, self._again = gate or Gate(), plan.fingerprint, again or {}
        self._counts, self._reading = _Counts(), threading.Lock()
        self._rate = Rate(self._gate)

    def pause(self) -> None:
        """Start no further item; running answers end."""
        self._gate.close()

    def resume(self) -> None:
        self._gate.open()

    @property
    def progress(self) -> BatchProgress:
        with self._reading:
            counts = self._counts
            rate = self._rate.per_second
            found = BatchProgress(
                total=counts.total,
                skipped=counts.skipped,
                answered=counts.outcomes["answered"],
                failed=counts.outcomes["failed"],
                cut_off=counts.outcomes["cut off"],
                current=counts.current,
                items_per_second=rate,
                seconds_left=None,
                is_paused=self._gate.is_closed,
            )
        left = found.remaining
        return found if rate is None or left is None else replace(found, seconds_left=left / rate)

    def run(self, report: Report, cancel: threading.Event) -> BatchProgress:
        """Ask every item that has no answer yet. Returns where it stands: `remaining` is 0 unless `cancel` was set.

        Raises:
            LensError: the inputs, the model or the results file cannot be used. Everything stored stays.
        """
        report("Reading the inputs", None)
        asked, answered = self._select(cancel)
        self._write_missing_sidecars(answered)
        if asked and not cancel.is_set():
            records = self._engine(self._given(asked, cancel), cancel)
            with contextlib.ExitStack() as ending:
                if isinstance(records, Generator):
                    ending.callback(records.close)  # so that answers end where a record cannot be stored
                self._store(records, report)
        return self.progress

    def _select(self, cancel: threading.Event) -> tuple[list[Item], set[bytes]]:
        """(the items to ask, the keys of those that were answered before)"""
        asked: list[Item] = []
        answered: set[bytes] = set()
        for item in self._items:
            if cancel.is_set():
                break
            if self.sidecars is not None:
                self.sidecars.claim(item)
            key = self._key(item)
            if key not in self._again and self.results.state_of(item, self._fingerprint) == "finished":
                answered.add(key)
            else:
                asked.append(item)
        with self._reading:
            self._counts.skipped = len(answered)
            if not cancel.is_set():
                self._counts.total = len(asked) + len(answered)
        return asked, answered

    def _write_missing_sidecars(self, answered: set[bytes]) -> None:
        if self.sidecars is None or not answered:
            return
        for record in self.results.records():
            if key_of(record.item, record.prompt, record.fingerprint) in answered:
                self.sidecars.write(record, only_missing=True)

    def _given(self, items: list[Item], cancel: threading.Event) -> Iterator[Item]:
        """What the engine takes from. Old records go when it takes the first: its model is loaded then."""
        self.results.forget({self._key(item) for item in items})
        self._rate.mark()
        for item in items:
            if not self._gate.wait(cancel):
                return
            with self._reading:
                self._counts.current = item.name
            yield item

    def _store(self, records: Iterator[Record], report: Report) -> None:
        reported = 0.0
        report("Loading the model", None)
        for record in records:
            if self.sidecars is not None and not record.failed:
                self._write_sidecar(
                    self.sidecars, record
                )  # before the record: what a kill comes between is asked and written again
            self.results.append(record)
            self._count(record)
            self._on_record(record)
            if time.monotonic() - reported > REPORT_SECONDS:
                reported, progress = time.monotonic(), self.progress
                report(progress.describe(), progress.done / (progress.total or 1))

    def _write_sidecar(self, sidecars: Sidecars, record: Record) -> None:
        old = self._again.get(key_of(record.item, record.prompt, record.fingerprint))
        if old is None:
            sidecars.write(record)
        else:
            sidecars.rewrite(old, record)

    def _count(self, record: Record) -> None:
        with self._reading:
            self._counts.outcomes["failed" if record.failed else "answered"] += 1
            self._counts.outcomes["cut off"] += not record.failed and record.stats.get("stop_reason") in CUT_OFF
        self._rate.mark()

    def _key(self, item: Item) -> bytes:
        return key_of(item.name, item.prompt, self._fingerprint)

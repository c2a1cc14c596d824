"""Runs the cases of a section in a child process, watches its time and memory, and counts what became of them."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.robustness import child
from benchmarks.robustness.section import Section

START_SECONDS = 300.0  # torch is slow to import on a busy machine
WATCH_SECONDS = 0.02  # between two looks at the child's memory
FAULTS = ("crashed", "died", "hung", "memory")


@dataclass
class Ledger:
    """What became of the cases of one section.

    Attributes:
        outcomes: how many cases ended how: "refused", what the section returned, or one of FAULTS.
        faults: (number of the case, outcome, details) of each fault.
        leaked_files, leaked_processes: what cases left behind, by the number of the case.
        peak_bytes: the most that a case added to the child's memory.
        slowest_seconds: of one case.
    """

    section: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    leaked_files: dict[int, list[str]] = field(default_factory=dict)
    leaked_processes: dict[int, list[int]] = field(default_factory=dict)
    peak_bytes: int = 0
    slowest_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.faults or self.leaked_files or self.leaked_processes)

    def as_row(self) -> dict[str, Any]:
        return {
            "section": self.section,
            "cases": self.outcomes.total(),
            "outcomes": dict(self.outcomes.most_common()),
            "faults": len(self.faults),
            "leaked files": sum(map(len, self.leaked_files.values())),
            "leaked processes": sum(map(len, self.leaked_processes.values())),
            "peak MiB": round(self.peak_bytes / 2**20),
            "slowest seconds": round(self.slowest_seconds, 2),
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
        }


def run(
    section: Section,
    count: int,
    seed: int = 0,
    *,
    first: int = 0,
    keep: Path | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Ledger:
    """Try cases `first` to `first + count - 1`. `keep`: a folder for the cases that were faults. `report` gets how many are done."""
    ledger, runner = Ledger(section.name, seed), _Runner(section)
    began = time.perf_counter()
    try:
        for number in range(first, first + count):
            case = section.case(number, random.Random(f"{section.name} {seed} {number}"))
            _enter(ledger, number, *runner.attempt(case))
            if keep is not None and ledger.faults and ledger.faults[-1][0] == number:
                _keep(keep, ledger, number, case)
            report(number - first + 1)
    finally:
        runner.close()
    ledger.seconds = time.perf_counter() - began
    return ledger


@dataclass(frozen=True)
class _Attempt:
    outcome: str
    details: str = ""
    files: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()


class _Runner:
    """One child at a time."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._folder = Path(tempfile.mkdtemp(prefix="robustness-"))
        self._started = 0
        self._child: Any = None
        self._idle_bytes = 0

    def attempt(self, case: Any) -> tuple[_Attempt, float, int]:
        """What became of it, seconds, and bytes that the child's memory rose by."""
        if self._child is None:
            self._start()
        began, peak = time.perf_counter(), 0
        self._pipe.send(case)
        while not self._pipe.poll(WATCH_SECONDS):
            peak = max(peak, self._bytes() - self._idle_bytes)
            seconds = time.perf_counter() - began
            if fault := self._fault(seconds, peak):
                self._end()
                return _Attempt(fault), seconds, peak
        seconds = time.perf_counter() - began
        try:
            answer = _Attempt(*(tuple(x) if isinstance(x, list) else x for x in self._pipe.recv()))
        except EOFError:
            self._child.join(5)
            answer = _Attempt("died", f"exit code {self._child.exitcode}")
            self._end()
        return answer, seconds, peak

    def _fault(self, seconds: float, peak: int) -> str:
        if peak > self._section.max_bytes:
            return "memory"
        return "hung" if seconds > self._section.max_seconds else ""

    def _start(self) -> None:
        processes = multiprocessing.get_context("spawn")
        self._pipe, theirs = processes.Pipe()
        self._started += 1
        folder = self._folder / str(self._started)
        self._child = processes.Process(target=child.run, args=(self._section, folder, theirs))
        self._child.start()
        theirs.close()
        if not self._pipe.poll(START_SECONDS):
            raise RuntimeError(f"the section {self._section.name} did not start in {START_SECONDS:.0f} s")
        self._pipe.recv()
        self._idle_bytes = self._bytes()

    def _bytes(self) -> int:
        """Of the child and its own children."""
        try:
            process = psutil.Process(self._child.pid)
            return sum(_rss(one) for one in (process, *process.children(recursive=True)))
        except psutil.Error:
            return 0

    def _end(self) -> None:
        """Kill the child with all that it started."""
        try:
            process = psutil.Process(self._child.pid)
            whole = [*process.children(recursive=True), process]
        except psutil.Error:
            whole = []
        for one in whole:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self._child.join()
        self._pipe.close()
        self._child = None

    def close(self) -> None:
        if self._child is not None:
            self._pipe.close()
            self._child.join(30)
            if self._child.is_alive():
                self._child.kill()
                self._child.join()
        shutil.rmtree(self._folder, ignore_errors=True)


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _enter(ledger: Ledger, number: int, attempt: _Attempt, seconds: float, peak: int) -> None:
    ledger.outcomes[attempt.outcome] += 1
    ledger.peak_bytes = max(ledger.peak_bytes, peak)
    ledger.slowest_seconds = max(ledger.slowest_seconds, seconds)
    if attempt.outcome in FAULTS:
        ledger.faults.append((number, attempt.outcome, attempt.details))
    if attempt.files:
        ledger.leaked_files[number] = list(attempt.files)
    if attempt.processes:
        ledger.leaked_processes[number] = list(attempt.processes)


def _keep(folder: Path, ledger: Ledger, number: int, case: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{ledger.section}-{ledger.seed}-{number}"
    (folder / f"{name}.pickle").write_bytes(pickle.dumps(case))
    (folder / f"{name}.json").write_text(json.dumps(ledger.faults[-1], indent=1), "utf-8")

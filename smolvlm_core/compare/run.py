"""The same prompts to several backends, side by side: answers as they come, figures, votes.

Backends on one device answer in turn, so that none is measured against another; those on different devices answer at the
same time. Knows backends by their contract only. Does not know who watches.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Literal

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.compare.columns import Column, ColumnAnswer, file_hashes
from smolvlm_core.compare.votes import Ballot, Votes
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Progress, Stats
from smolvlm_core.prompt.messages import Message
from smolvlm_core.work.device_lock import DeviceLocks
from smolvlm_core.work.job import Job
from smolvlm_core.work.report import Report

logger = logging.getLogger(__name__)
Caching = Literal["warm", "cold", "both"]
MOST_COLUMNS = 4
STORED_COMPARISONS = 8
MOST_AT_ONCE = 1000


class Comparison:
    """Starts at once. `stop` and the columns may be used from any thread.

    `blind`: the voter must not know the names. So columns answer in a random order, and are shown in another one for each
    question. `caching`: "warm" uses what caches hold, "cold" encodes and reads everything again, "both" does that and then asks
    once more for the first token with warm caches.

    Raises:
        LensError: fewer than two or more than four backends, two with the same name, or no question.
    """

    def __init__(
        self,
        backends: Sequence[tuple[str, Backend]],
        asked: Sequence[tuple[str, Prompt]],
        settings: GenerationSettings,
        devices: DeviceLocks,
        votes: Votes,
        *,
        blind: bool = False,
        caching: Caching = "warm",
    ) -> None:
        if not 2 <= len(backends) <= MOST_COLUMNS:
            raise LensError(f"Backends selected: {len(backends)}.", f"Select 2 to {MOST_COLUMNS}.")
        if len({name for name, _ in backends}) < len(backends):
            raise LensError("Two backends have the same name.", "Select different ones.")
        if not asked:
            raise LensError("Enter a question.", "For several questions, write one per line.")
        self.questions = [question for question, _ in asked]
        self.prompts = [prompt for _, prompt in asked]
        self.settings, self.blind, self.caching = settings, blind, caching
        self._devices, self._votes = devices, votes
        self.begun = time.time()
        self.columns = [Column(name=name, backend=b, answers=[ColumnAnswer() for _ in asked]) for name, b in backends]
        self._orders = [self._order() for _ in asked]
        self.voted: dict[int, Ballot] = {}
        self._jobs = [
            Job(f"compare on {device}", partial(self._work, columns)) for device, columns in _by_device(self._order())
        ]
        for job in self._jobs:
            job.start()

    def _order(self) -> list[Column]:
        return random.sample(self.columns, len(self.columns)) if self.blind else self.columns

    def shown(self, question: int) -> list[Column]:
        """The columns in the order in which their answers to a question are shown: A, B and so on."""
        return self._orders[question]

    @property
    def done(self) -> bool:
        return all(column.done for column in self.columns)

    @property
    def hides_names(self) -> bool:
        """Names stay hidden until every question that was answered has a vote."""
        answered = {n for n in range(len(self.questions)) if self.answered(n)}
        return self.blind and not (self.done and answered <= set(self.voted))

    def reference(self, question: int) -> Column:
        """The first column that answered: the others are compared with it."""
        shown = self.shown(question)
        return next((c for c in shown if c.answers[question].text), shown[0])

    def answered(self, question: int) -> int:
        """How many answers there are to vote on."""
        return sum(bool(c.answers[question].text) for c in self.columns)

    def wait(self, timeout_seconds: float | None = None) -> None:
        for job in self._jobs:
            job.wait(timeout_seconds)

    def stop(self, column: Column | None = None) -> None:
        """One column, or all. The text so far stays."""
        for each in [column] if column else self.columns:
            each.cancel.set()

    def vote(self, question: int, ballot: Ballot) -> None:
        """Judge the answers to a question, and store that. Raises StoreError where it cannot be written."""
        self._votes.add(
            {
                "time": time.time(),
                "blind": self.blind,
                "question": self.questions[question],
                "prompt": self.prompts[question].fingerprint,
                "answers": {c.name: c.answers[question].text for c in self.columns},
                "order": [c.name for c in self.shown(question)],
                **asdict(ballot),
            }
        )
        self.voted[question] = ballot

    def _work(self, columns: Sequence[Column], report: Report, cancel: threading.Event) -> None:
        """The columns of one device, one after another."""
        for column in columns:
            with self._devices.acquire(column.backend.device, column.cancel, partial(_report_waiting, column)) as mine:
                if mine:
                    self._run(column)
                else:
                    column.state = "stopped"

    def _run(self, column: Column) -> None:
        try:
            self._answer_all(column)
        except LensError as error:
            column.answers[column.asking].error = str(error)
            column.state = "failed"
        except Exception:  # a bug: the other columns must still answer
            logger.exception("%s failed", column.name)
            column.answers[column.asking].error = "It failed unexpectedly. The log has the details."
            column.state = "failed"

    def _answer_all(self, column: Column) -> None:
        column.state = "loading"
        self._load(column)
        backend = self._asked(column)
        column.text_seconds = self._text_only(column, backend)
        for n, (answer, prompt) in enumerate(zip(column.answers, self.prompts)):
            if column.cancel.is_set():
                break
            column.state, column.asking = "answering", n
            self._answer(column, backend, answer, prompt)
        column.progress = "Hashing files"
        column.revision, column.files = backend.revision, file_hashes(backend)
        column.progress = ""
        if column.cancel.is_set():
            column.state = "stopped"
        else:
            column.state = "failed" if all(a.error and not a.text for a in column.answers) else "done"

    def _load(self, column: Column) -> None:
        """Load before the first question: its answer is measured without loading."""
        longest = max(self.prompts, key=lambda prompt: len(prompt.text))
        collect(column.backend.prepare(longest, self.settings, column.cancel), partial(_report, column))
        column.load_seconds = column.backend.load_seconds

    def _asked(self, column: Column) -> Backend:
        """The backend as it is asked: without caches, where that is wanted and possible."""
        cold = column.backend.cold()
        column.can_be_cold = cold is not None
        return cold if cold is not None and self.caching != "warm" else column.backend

    def _text_only(self, column: Column, backend: Backend) -> float | None:
        """Seconds to the first token of a question without pictures."""
        hello = build_prompt([Message("user", "Hello")], lambda key: (_ for _ in ()).throw(KeyError(key)))
        settings = GenerationSettings(max_new_tokens=1)
        reply = collect(backend.generate(hello, settings, column.cancel), partial(_report, column))
        return reply.stats.time_to_first_token_seconds

    def _answer(self, column: Column, backend: Backend, answer: ColumnAnswer, prompt: Prompt) -> None:
        try:
            for event in backend.generate(prompt, self.settings, column.cancel):
                if isinstance(event, Progress):
                    column.progress = event.text
                elif isinstance(event, Delta):
                    column.progress = ""
                    answer.text += event.text
                else:
                    answer.stats = event
        except LensError as error:
            answer.error = str(error)  # the next question may succeed
            return
        if self.caching == "both" and not column.cancel.is_set():
            column.progress = "Measuring the first token with warm caches"
            answer.again = self._again(column, prompt)
            column.progress = ""

    def _again(self, column: Column, prompt: Prompt) -> Stats | None:
        """The same question once more, for the time to its first token; None where it was refused this time."""
        once = replace(self.settings, max_new_tokens=1)
        try:
            return collect(column.backend.generate(prompt, once, column.cancel)).stats
        except LensError as error:
            logger.warning("%s: %s", column.name, error)
            return None


def _report(column: Column, progress: Progress) -> None:
    column.progress = progress.text


class Comparisons:
    """The comparisons of a process, found again by key when a page is loaded anew. Used from any thread."""

    def __init__(self, devices: DeviceLocks, votes: Votes, most: Callable[[], int] = lambda: MOST_AT_ONCE) -> None:
        self._devices, self.votes, self._most = devices, votes, most
        self._by_key: dict[str, Comparison] = {}  # in the order they began
        self._lock = threading.Lock()

    def begin(
        self,
        backends: Sequence[tuple[str, Backend]],
        asked: Sequence[tuple[str, Prompt]],
        settings: GenerationSettings,
        *,
        blind: bool = False,
        caching: Caching = "warm",
    ) -> tuple[str, Comparison]:
        """Start one; returns its key too. The oldest finished ones are forgotten.

        Raises:
            LensError: see `Comparison`; or `most` of them run already.
        """
        most, key = self._most(), secrets.token_hex(8)
        with self._lock:
            if sum(not comparison.done for comparison in self._by_key.values()) >= most:
                raise LensError(f"{most:,} of your comparisons are running.", "Wait until one ends, or stop it.")
            comparison = Comparison(backends, asked, settings, self._devices, self.votes, blind=blind, caching=caching)
            self._by_key[key] = comparison
            for old in list(self._by_key)[:-STORED_COMPARISONS]:
                if self._by_key[old].done:
                    del self._by_key[old]
        return key, comparison

    def find(self, key: str) -> Comparison | None:
        with self._lock:
            return self._by_key.get(key)

    def all(self) -> list[tuple[str, Comparison]]:
        """With their keys, the newest first. They are kept until the process ends."""
        with self._lock:
            return list(self._by_key.items())[::-1]


def _report_waiting(column: Column) -> None:
    column.progress = "Waiting for another comparison or check"


def _by_device(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    devices = dict.fromkeys(column.backend.device for column in columns)
    return [(device, [c for c in columns if c.backend.device == device]) for device in devices]

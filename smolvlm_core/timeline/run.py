"""One run over a timeline as a job: cut the clip, ask about each segment what is not answered yet, keep what comes.

Does not know where timelines are listed, nor who watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.ready import load
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.asking import GAVE_UP, Asked, Prepared, Task, ask, prepare
from smolvlm_core.timeline.records import Answer, Segment, Timeline
from smolvlm_core.timeline.scan import scan
from smolvlm_core.timeline.segments import Piece, cut_up
from smolvlm_core.timeline.store import TimelineStore
from smolvlm_core.times import duration_text
from smolvlm_core.work.gate import Gate
from smolvlm_core.work.job import Running
from smolvlm_core.work.pipeline import Pipeline
from smolvlm_core.work.rate import Rate
from smolvlm_core.work.report import Report

PARALLEL = 4
REPORT_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class TimelineProgress:
    """Where a timeline stands.

    Attributes:
        total: segments; None while the clip is being cut.
        skipped: answered in an earlier run.
        answered, failed: in this run.
        segments_per_second, seconds_left: by the last segments; None where unknown.
    """

    total: int | None = None
    skipped: int = 0
    answered: int = 0
    failed: int = 0
    segments_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def done(self) -> int:
        return self.skipped + self.answered + self.failed

    def describe(self) -> str:
        """One line, for people."""
        if self.total is None:
            return "Looking for changes in the clip"
        parts = [f"{self.done} of {self.total} segments"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.segments_per_second:
            rate = self.segments_per_second
            parts.append(f"{rate:.3g} segments/s" if rate >= 1 else f"{1 / rate:.3g} s a segment")
        if self.seconds_left is not None and self.done < self.total:
            parts.append(f"{duration_text(self.seconds_left)} left")
        return " · ".join(parts)


class Run(Running):
    """`job` does `work`. Everything may be used from any thread.

    Args:
        source: the clip's file.
        pieces: how it is cut, where that is known; None to look for changes.
        on_asked: gets each segment that was asked, once it is stored.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        source: Path,
        backend: Backend,
        store: TimelineStore,
        pieces: list[Piece] | None = None,
        on_asked: Callable[[Asked], None] = lambda asked: None,
    ) -> None:
        self.timeline = timeline
        self._source, self._backend, self._store = source, backend, store
        self._pieces, self._on_asked = pieces, on_asked
        self._counting = threading.Lock()
        self._total: int | None = None
        self._skipped = self._answered = self._failed = 0
        self._rate = Rate()

    @property
    def progress(self) -> TimelineProgress:
        with self._counting:
            total, skipped, answered, failed = self._total, self._skipped, self._answered, self._failed
        left = None if total is None else total - skipped - answered - failed
        return TimelineProgress(
            total=total,
            skipped=skipped,
            answered=answered,
            failed=failed,
            segments_per_second=self._rate.per_second,
            seconds_left=None if left is None else self._rate.seconds_left(left),
        )

    def describe(self) -> str:
        """One line, for people: what it does, until the first answer is there."""
        progress = self.progress
        return progress.describe() if progress.answered or progress.failed else self.job.text

    def work(self, report: Report, cancel: threading.Event) -> TimelineProgress:
        """Raises LensError: the clip or the model cannot be used. Everything stored stays, and where it was stopped nothing is raised."""
        try:
            self._work(report, cancel)
        except LensError:
            if not cancel.is_set():
                raise
        return self.progress

    def _work(self, report: Report, cancel: threading.Event) -> None:
        settings, name = self.timeline.request.settings, self.timeline.clip.name
        self._cut(report, cancel)
        tasks = self._tasks()
        if not tasks or cancel.is_set():
            return
        load(self._backend, settings, cancel, lambda event: report(event.text, event.fraction))
        pipeline: Pipeline[Task, Prepared, Asked] = Pipeline(
            prepare=lambda task, stop: prepare(task, self._source, name, settings, stop),
            ask=lambda prepared, stop: ask(prepared, self._backend, settings, stop),
            gave_up=_gave_up,
            size_of=lambda prepared: prepared.decoded_bytes,
            parallel=PARALLEL,
            gate=Gate(),
        )
        self._rate.mark()
        report(f"Asking about the first of {len(tasks)} segments", None)
        self._keep(pipeline.run(tasks, cancel), report)

    def _cut(self, report: Report, cancel: threading.Event) -> None:
        """Store the segments, where there are none yet."""
        identity = self.timeline.identity
        if self._store.segments(identity):
            return
        if self._pieces is not None:
            self._store.put_segments(identity, self._pieces)
            return
        report("Looking for changes in the clip", None)
        found = scan(
            self._source,
            lambda done, of: report(f"Looking for changes in the clip: frame {done} of {of}", done / of),
            cancel,
        )
        pieces = cut_up(found.facts.duration_seconds, found.changes, self.timeline.request.cut)
        self._store.put_segments(identity, pieces, found.notes)

    def _tasks(self) -> list[Task]:
        """In the order in which the clip was cut: coarse segments first."""
        segments = sorted(self._store.segments(self.timeline.identity), key=lambda segment: segment.identity)
        tasks = [task for segment in segments if (task := self._task(segment)) is not None]
        with self._counting:
            self._total, self._skipped = len(segments), len(segments) - len(tasks)
        return tasks

    def _task(self, segment: Segment) -> Task | None:
        """None where all is answered."""
        answers = segment.answers
        open_questions = {
            column: question
            for column, question in self.timeline.columns.items()
            if column not in answers or answers[column].error
        }
        facts = self.timeline.clip.facts
        fps = facts.fps if facts is not None else 25.0
        frames = self.timeline.request.cut.frames
        return Task(segment=segment, questions=open_questions, frames=frames, fps=fps) if open_questions else None

    def _keep(self, results: Iterator[Asked], report: Report) -> None:
        reported = 0.0
        for asked in results:
            prepared = asked.prepared
            segment = prepared.task.segment
            if prepared.frames and not segment.frames:
                self._store.save_frames(segment.identity, prepared.frames, prepared.notes)
            for column, answer in asked.answers.items():
                self._store.save_answer(segment.identity, column, answer)
            with self._counting:
                self._failed += asked.failed
                self._answered += asked.is_complete and not asked.failed
            self._rate.mark()
            self._on_asked(asked)
            if time.monotonic() - reported > REPORT_SECONDS:
                reported, progress = time.monotonic(), self.progress
                report(progress.describe(), progress.done / (progress.total or 1))


def _gave_up(prepared: Prepared) -> Asked:
    return Asked(
        prepared=prepared,
        answers={column: Answer(error=GAVE_UP, finished=time.time()) for column in prepared.task.questions},
    )

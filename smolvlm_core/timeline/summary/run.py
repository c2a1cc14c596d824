"""One run that makes a summary: read the texts group by group, shorten what was found, show the frames of each statement again.

Keeps what is done after each step, so that the next run goes on. Does not know where summaries are listed, nor who watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.ready import load
from smolvlm_core.errors import LensError
from smolvlm_core.models.tokens import counter
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.timeline.prompts import Shot
from smolvlm_core.timeline.records import Segment, Timeline
from smolvlm_core.timeline.summary import plan, statements
from smolvlm_core.timeline.summary.asking import Stopped
from smolvlm_core.timeline.summary.plan import Line
from smolvlm_core.timeline.summary.records import AskedAs, Plan, Statement, Summary
from smolvlm_core.timeline.summary.verify import Judge, reliability
from smolvlm_core.timeline.summary.writing import Writer, frame_tokens
from smolvlm_core.times import duration_text
from smolvlm_core.work.events import child
from smolvlm_core.work.job import Running
from smolvlm_core.work.rate import Rate
from smolvlm_core.work.report import Report

Keep = Callable[[Summary], None]
ShotsOf = Callable[[Sequence[int]], list[list[Shot]]]  # the frames of each segment, by its identity
Reliability = tuple[AskedAs, str]

BY_MODEL = "The model wrote these statements from the descriptions of the segments."
BY_JOINING = (
    "The model could not answer from the descriptions: what it wrote could not be traced back to them. So these are the descriptions "
    "themselves, and those of neighbouring segments that say the same are one."
)
PARTLY = "For some parts the model's words could not be traced back to the descriptions, which are used instead."
MOST_SEGMENTS_SHOWN = 6  # of one statement, from the first to the last


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a summary is made from: the texts, and what of them fits. `texts`: names them."""

    lines: tuple[Line, ...]
    plan: Plan
    texts: str


def material(timeline: Timeline, segments: Sequence[Segment], question: str, backend: Backend) -> Material:
    """What there is and what fits, before anything is asked. `segments`: those that no other refines."""
    count, counted = counter(backend.spec)
    lines, left_out = plan.lines_of(segments, timeline.columns)
    made = plan.plan(
        lines,
        left_out,
        context_tokens=backend.spec.context_tokens,
        frame_tokens=frame_tokens(question, count),
        counted=counted,
        count=count,
    )
    return Material(
        lines=tuple(lines),
        plan=made,
        texts=plan.fingerprint(lines, question, f"{backend.spec.weights_id} {backend.kind}"),
    )


class SummaryRun(Running):
    """`job` does `work`. Everything may be used from any thread.

    Args:
        before: an earlier run's summary of the same texts, to go on with; None to begin.
        known: how the model can be asked about statements, where that was found before; else it is, and `found` gets it.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        question: str,
        material: Material,
        backend: Backend,
        shots_of: ShotsOf,
        keep: Keep,
        before: Summary | None = None,
        known: Reliability | None = None,
        found: Callable[[Reliability], None] = lambda reliability: None,
    ) -> None:
        self.timeline, self.question = timeline, question
        self._material, self._backend, self._shots_of, self._keep_it = material, backend, shots_of, keep
        self._known, self._found = known, found
        self._rate, self._stage, self._done, self._total = Rate(), "Loading the model", 0, 0
        self._lock = threading.Lock()
        self.summary = before or Summary(
            question=question,
            timeline=timeline.identity,
            plan=material.plan,
            texts=material.texts,
            model=backend.name,
            created=time.time(),
        )

    def describe(self) -> str:
        """One line, for people: what it does, how far it is, how fast, and what is left."""
        with self._lock:
            stage, done, total = self._stage, self._done, self._total
        if not total:
            return stage
        parts = [f"{stage}: {done} of {total}"]
        if rate := self._rate.per_second:
            parts.append(f"{rate:.3g} a second" if rate >= 1 else f"{1 / rate:.3g} s each")
        if done and done < total and self._rate.per_second:
            parts.append(f"{duration_text(self._seconds_left(done, total))} left")
        return " · ".join(parts)

    @property
    def fraction(self) -> float | None:
        """Of what it does now."""
        with self._lock:
            return self._done / self._total if self._total else None

    def work(self, report: Report, cancel: threading.Event) -> Summary:
        """Raises LensError: the model cannot be used. What is done stays."""
        try:
            self._load(report, cancel)
            self._map(cancel)
            self._reduce(cancel)
            self._verify(cancel)
        except Stopped:
            return self.summary
        self._keep(finished=True, weights=self._backend.revision)
        return self.summary

    def _load(self, report: Report, cancel: threading.Event) -> None:
        try:
            with child(cancel) as own:
                load(self._backend, GenerationSettings(), own, lambda event: report(event.text, event.fraction))
        except LensError:
            if cancel.is_set():
                raise Stopped from None
            raise

    # Reading

    def _map(self, cancel: threading.Event) -> None:
        """Answer the question from each group of texts."""
        groups = self.summary.plan.groups
        of = {line.source.segment: line for line in self._material.lines}
        self._begin("Reading the descriptions", len(self.summary.mapped), len(groups))
        writer = self._writer(cancel)
        for group in groups[len(self.summary.mapped) :]:
            lines = [of[identity] for identity in group]
            written = writer.answer(lines)
            self._keep(mapped=(*self.summary.mapped, tuple(written or statements.joined(lines))))
            self._next()

    def _reduce(self, cancel: threading.Event) -> None:
        """One list of statements from those of all groups."""
        if self.summary.statements:
            return
        mapped = self.summary.mapped
        found = [statement for group in mapped for statement in group]
        by_model = [not any(statement.joined for statement in group) for group in mapped]
        if all(by_model) and len(mapped) > 1 and self._fits(found):
            self._begin("Shortening what was found", 0, 1)
            found = self._writer(cancel).shorten(found) or found
            self._next()
        if not any(by_model):
            found = self._joined()
        self._keep(
            statements=tuple(found),
            way="model" if any(by_model) else "joined",
            why=BY_MODEL if all(by_model) else PARTLY if any(by_model) else BY_JOINING,
            unmentioned=statements.unmentioned(found, self._planned()) if any(by_model) else (),
        )

    def _joined(self) -> list[Statement]:
        """The texts themselves; the answers of a column, where that asks the same question."""
        asked = self.question.strip().casefold()
        column = next((q for q in self.timeline.columns.values() if q.strip().casefold() == asked), None)
        return statements.joined(self._planned(), column if column != self.timeline.request.prompt else None)

    def _planned(self) -> list[Line]:
        used = {identity for group in self.summary.plan.groups for identity in group}
        return [line for line in self._material.lines if line.source.segment in used]

    def _fits(self, found: Sequence[Statement]) -> bool:
        count, _ = counter(self._backend.spec)
        made = self.summary.plan
        text = "\n".join(f"- {statement.text}" for statement in found)
        needed = count(text) + frame_tokens(self.question, count) + made.answer_tokens + plan.MARGIN_TOKENS
        return needed <= made.context_tokens

    def _writer(self, cancel: threading.Event) -> Writer:
        return Writer(
            backend=self._backend,
            question=self.question,
            answer_tokens=self.summary.plan.answer_tokens,
            cancel=cancel,
        )

    # Verifying

    def _verify(self, cancel: threading.Event) -> None:
        judge = Judge(backend=self._backend, cancel=cancel)
        if self._known is None:
            self._begin("Testing whether the model can judge statements", 0, 0)
            self._known = reliability(judge)
            self._found(self._known)
        asked_as, text = self._known
        self._keep(asked_as=asked_as, reliability=text)
        done = sum(statement.verdict != "open" for statement in self.summary.statements)
        self._begin("Checking the statements", done, len(self.summary.statements))
        for number, statement in enumerate(self.summary.statements):
            if statement.verdict == "open":
                self._keep_verdict(number, judge.check(statement, self._shown(statement), asked_as))
                self._next()

    def _shown(self, statement: Statement) -> list[list[Shot]]:
        """The frames of its segments; of many segments some, spread over all of them."""
        sources = statement.sources
        if (most := MOST_SEGMENTS_SHOWN) < len(sources):
            sources = tuple(sources[round(i * (len(sources) - 1) / (most - 1))] for i in range(most))
        return self._shots_of([source.segment for source in sources])

    def _keep_verdict(self, number: int, checked: Statement) -> None:
        before = self.summary.statements
        self._keep(statements=(*before[:number], checked, *before[number + 1 :]))

    # Keeping

    def _keep(self, **changes: object) -> None:
        self.summary = replace(self.summary, **changes)  # type: ignore[arg-type]
        self._keep_it(self.summary)

    def _begin(self, stage: str, done: int, total: int) -> None:
        with self._lock:
            self._stage, self._done, self._total = stage, done, total
        self._rate = Rate()
        self._rate.mark()

    def _next(self) -> None:
        with self._lock:
            self._done += 1
        self._rate.mark()

    def _seconds_left(self, done: int, total: int) -> float:
        return self._rate.seconds_left(total - done) or 0.0

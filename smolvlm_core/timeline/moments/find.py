"""When something happens in a clip: asks a question about frames all over it, and finds where the answer changes.

Coarse first: frames at an interval. Then finer only where the answer changes: halving, down to the exact frame.
Does not know who asks, nor where curves are stored.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.ready import load
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.moments.curve import Curve, Moment, MomentKind
from smolvlm_core.timeline.moments.edges import Edge, word_edges, yes_edges
from smolvlm_core.timeline.moments.plan import MAX_REFINED, REFINING, WINDOW_INTERVALS, Plan
from smolvlm_core.timeline.moments.questioning import Questioner, settings_for
from smolvlm_core.timeline.moments.wording import Wording
from smolvlm_core.timeline.yes import NOTHING, Reading
from smolvlm_core.times import duration_text
from smolvlm_core.video import ClipFacts
from smolvlm_core.work.events import child
from smolvlm_core.work.rate import Rate
from smolvlm_core.work.report import Report

OnCurve = Callable[[Curve], None]


def find_moments(
    source: Path,
    facts: ClipFacts,
    wording: Wording,
    backend: Backend,
    plan: Plan,
    cancel: threading.Event,
    report: Report = lambda text, fraction: None,
    on_curve: OnCurve = lambda curve: None,
) -> Curve:
    """Where `cancel` is set, the curve so far, which is not `complete`. `on_curve` gets the curve as it grows.

    Raises:
        LensError: the clip cannot be read, or the model cannot be loaded or fails.
    """
    return _Search(source, facts, wording, backend, plan, cancel, report, on_curve).run()


class _Search:
    def __init__(
        self,
        source: Path,
        facts: ClipFacts,
        wording: Wording,
        backend: Backend,
        plan: Plan,
        cancel: threading.Event,
        report: Report,
        on_curve: OnCurve,
    ) -> None:
        self._source, self._facts, self._wording, self._backend = source, facts, wording, backend
        self._plan, self._cancel, self._report, self._on_curve = plan, cancel, report, on_curve
        self._readings = [NOTHING] * len(plan.times)
        self._notes: list[str] = []
        self._moments: tuple[Moment, ...] = ()
        self._rate, self._counting = Rate(), threading.Lock()
        self._done, self._of, self._doing = 0, len(plan.times), "question"
        self._settings = settings_for(wording, logprobs=True)
        self._questioner = Questioner(source, facts, wording, backend, self._settings, cancel, self._answered)

    def run(self) -> Curve:
        try:
            return self._run()
        except LensError:  # loading or decoding that was stopped
            if self._cancel.is_set():
                return self._curve(complete=False)
            raise

    def _run(self) -> Curve:
        with child(self._cancel) as own:
            load(self._backend, self._settings, own, lambda event: self._report(event.text, event.fraction))
        if self._cancel.is_set():
            return self._curve(complete=False)
        logprobs = self._backend.capabilities().logprobs
        if not logprobs:
            self._notes.append(f"{self._backend.name} gives no probabilities: each answer counts as 0 or 100%")
        self._settings = settings_for(self._wording, logprobs=logprobs)
        self._questioner.settings = self._settings
        self._rate.mark()
        self._sample()
        edges = self._edges()
        if not self._cancel.is_set():
            spans = self._refined(edges) if self._plan.refines else [self._between(edge) for edge in edges]
            self._moments = self._moments_of(edges, spans)
        self._say_what_was_unclear()
        return self._curve(complete=not self._cancel.is_set())

    # Asking

    def _sample(self) -> None:
        if self._plan.frames == 1:
            self._questioner.ask([(time,) for time in self._plan.times], self._put)
            return
        last = self._facts.last_frame_seconds
        for intervals in WINDOW_INTERVALS:
            places = [i for i, reading in enumerate(self._readings) if not reading.word]
            if self._wording.answers == "yes or no" and intervals > WINDOW_INTERVALS[0]:
                return
            if not places or self._cancel.is_set():
                return
            self._begin(len(places), "question")
            found = self._questioner.ask([self._plan.window(self._plan.times[i], intervals, last) for i in places])
            for place, reading in zip(places, found):
                self._readings[place] = reading
            self._on_curve(self._curve(complete=False))

    def _put(self, first: int, found: list[Reading]) -> None:
        self._readings[first : first + len(found)] = found
        self._on_curve(self._curve(complete=False))

    def _begin(self, count: int, doing: str) -> None:
        with self._counting:
            self._done, self._of, self._doing = 0, count, doing

    def _answered(self) -> None:
        with self._counting:
            self._done += 1
            done, of, doing = self._done, self._of, self._doing
        self._rate.mark()
        left = self._rate.seconds_left(of - done)
        parts = [f"{doing.capitalize()} {done:,} of {of:,}"]
        if (rate := self._rate.per_second) is not None:
            parts.append(f"{rate:.3g} a second" if rate >= 1 else f"{1 / rate:.3g} s each")
        if left is not None and done < of:
            parts.append(f"{duration_text(left)} left")
        self._report(" · ".join(parts), done / of if of else None)

    # What changes

    def _edges(self) -> list[Edge]:
        if self._wording.answers == "yes or no":
            return yes_edges([reading.probability for reading in self._readings])
        return word_edges([reading.word for reading in self._readings])

    def _between(self, edge: Edge) -> tuple[float, float]:
        """(the last time with the old answer, that with the new one)"""
        return self._plan.times[edge.before], self._plan.times[edge.after]

    def _refined(self, edges: Sequence[Edge]) -> list[tuple[float, float]]:
        """Halved until the two times are neighbouring frames. All moments take each step together."""
        spans = [self._between(edge) for edge in edges]
        wanted = [i for i, edge in enumerate(edges) if self._is_asked_for(edge)]
        if len(wanted) > MAX_REFINED:
            self._notes.append(f"only the first {MAX_REFINED} of {len(wanted)} moments were found to the exact frame")
        still = wanted[:MAX_REFINED]
        frame = 1 / max(self._facts.fps, 1.0)
        for _ in range(REFINING):
            still = [i for i in still if spans[i][1] - spans[i][0] > 1.01 * frame]
            if not still or self._cancel.is_set():
                break
            self._begin(len(still), "exact frame")
            middles = [_middle(spans[i], frame) for i in still]
            found = self._questioner.ask([(middle,) for middle in middles])
            for i, middle, reading in zip(tuple(still), middles, found):
                if reading.word == edges[i].old:
                    spans[i] = (middle, spans[i][1])
                elif reading.word:
                    spans[i] = (spans[i][0], middle)
                else:  # unclear: no finer than this
                    still.remove(i)
        return spans

    def _is_asked_for(self, edge: Edge) -> bool:
        wording = self._wording
        if wording.answers == "yes or no":
            return bool(wording.begins if edge.new == "yes" else wording.ends)
        return wording.target in ("", edge.new)

    def _moments_of(self, edges: Sequence[Edge], spans: Sequence[tuple[float, float]]) -> tuple[Moment, ...]:
        starts = [after if self._plan.refines else (before + after) / 2 for before, after in spans]
        ends = [*starts[1:], self._facts.duration_seconds]
        return tuple(
            Moment(
                kind=self._kind(edge),
                seconds=start,
                before_seconds=span[0],
                until_seconds=end,
                probability=self._probability(edge, end),
                text=self._text(edge),
            )
            for edge, span, start, end in zip(edges, spans, starts, ends)
            if self._is_asked_for(edge)
        )

    def _kind(self, edge: Edge) -> MomentKind:
        if self._wording.answers != "yes or no":
            return "begins" if self._wording.target else "changes"
        return "begins" if edge.new == "yes" else "ends"

    def _text(self, edge: Edge) -> str:
        wording = self._wording
        if wording.answers == "yes or no":
            return wording.begins if edge.new == "yes" else wording.ends
        return f"from {edge.old} to {edge.new}" if not wording.target else f"moves {edge.new}"

    def _probability(self, edge: Edge, end: float) -> float:
        """Of the new answer, over the samples until the next moment."""
        found = [
            reading.probability
            for at, reading in zip(self._plan.times[edge.after :], self._readings[edge.after :])
            if at < end and reading.probability is not None and (reading.word == edge.new or edge.new in ("yes", "no"))
        ]
        mean = fmean(found) if found else 0.0
        return 1 - mean if edge.new == "no" else mean

    # What comes of it

    def _say_what_was_unclear(self) -> None:
        known = [(i, r) for i, r in enumerate(self._readings) if r.word]
        unclear = len(self._readings) - len(known) - self._questioner.lost
        if self._questioner.lost:
            self._notes.append(f"{self._questioner.lost} times were left out: their frames are too damaged to decode")
        if unclear > 0 and not self._cancel.is_set():
            what = "yes nor no" if self._wording.answers == "yes or no" else f"a {self._wording.answers}"
            said = "neither" if "nor" in what else "not"
            self._notes.append(f"{unclear} of {len(self._readings)} answers were {said} {what}")
        if known and self._wording.answers == "yes or no" and not self._moments:
            share = fmean(r.word == "yes" for _, r in known)
            if share > 0.9:
                self._notes.append("the answer is yes from the start to the end")

    def _curve(self, *, complete: bool) -> Curve:
        words = self._wording.answers != "yes or no"
        return Curve(
            typed=self._wording.typed,
            asked=self._wording.asked,
            interval_seconds=self._plan.interval_seconds,
            duration_seconds=self._facts.duration_seconds,
            times=self._plan.times,
            probabilities=tuple(reading.probability for reading in self._readings),
            answers=tuple(reading.word for reading in self._readings) if words else (),
            moments=self._moments,
            notes=tuple(self._notes),
            frames=self._plan.frames,
            window_seconds=WINDOW_INTERVALS[0] * self._plan.interval_seconds if self._plan.frames > 1 else 0.0,
            model=self._backend.name,
            weights=self._backend.revision,
            settings=self._settings,
            questions=self._questioner.asked,
            complete=complete,
            created=time.time(),
        )


def _middle(span: tuple[float, float], frame: float) -> float:
    """Of two times, on a frame between them."""
    return span[0] + max(1, round((span[1] - span[0]) / frame) // 2) * frame

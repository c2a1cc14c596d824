"""The summaries of the timelines of a data folder: what one would take, begin, go on, find.

Knows timelines, the registry of backends and jobs. Does not know pages.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.registry import Registry
from smolvlm_core.errors import LensError
from smolvlm_core.fields import FieldError, read_value
from smolvlm_core.prompt.build import check_text
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.prompts import Shot
from smolvlm_core.timeline.records import Segment, Timeline, leaves
from smolvlm_core.timeline.summary.records import KIND, AskedAs, Summary, read_summary
from smolvlm_core.timeline.summary.run import Material, Reliability, SummaryRun, material
from smolvlm_core.video import take_frames
from smolvlm_core.work.job import Jobs

PREFIX = "summary "
JUDGING = "judging"  # kind of the document that says how a model can be asked about statements
RULES = "1"  # of the known statements: raise it where they change


class Summaries:
    """Used from any thread. One summary of a timeline runs at a time."""

    def __init__(self, folder: Path, jobs: Jobs, registry: Registry, timelines: Timelines) -> None:
        self._folder, self._jobs, self._registry, self._timelines = folder, jobs, registry, timelines
        self._starting = threading.Lock()
        self._runs: dict[str, SummaryRun] = {}

    def all(self, timeline: Timeline) -> list[Summary]:
        """The newest first. One for each question."""
        found = (read_summary(document.value) for document in self._timelines.documents(timeline.identity, KIND))
        return [summary for summary in found if summary is not None]

    def find(self, timeline: Timeline, question: str) -> Summary | None:
        return next((summary for summary in self.all(timeline) if summary.question == question.strip()), None)

    def forget(self, timeline: Timeline, question: str) -> None:
        self._timelines.forget(timeline.identity, KIND, question.strip())

    def run_of(self, timeline: Timeline) -> SummaryRun | None:
        """Its last run in this process."""
        return self._runs.get(timeline.identity)

    def material(self, timeline: Timeline, question: str, backend: Backend) -> Material:
        """What a summary would be made from, and what fits, before anything is asked."""
        return material(timeline, leaves(self._timelines.segments(timeline.identity)), question.strip(), backend)

    def is_current(self, timeline: Timeline, summary: Summary, backend: Backend) -> bool:
        """Whether the texts are still those that it was made from, and the model the same."""
        return self.material(timeline, summary.question, backend).texts == summary.texts

    def begin(self, timeline: Timeline, question: str, entry: str = "", precision: str = "") -> SummaryRun:
        """Start a summary, or go on with one of the same texts by the same model.

        Args:
            entry: key of a backend in the registry; the timeline's own where it is empty.

        Raises:
            LensError: one runs already, there is nothing to summarize, or the question or the model cannot be used.
        """
        question = question.strip()
        check_text(question)
        if not question:
            raise LensError("The question is empty.", "Type a question.")
        with self._starting:
            running = self.run_of(timeline)
            if running is not None and running.is_running:
                raise LensError(f"“{running.question}” is being answered.", "Wait until it ends, or stop it.")
            request = timeline.request
            backend = self._registry.make(entry or request.entry, precision if entry else request.precision)
            made = self.material(timeline, question, backend)
            if not made.plan.groups:
                raise LensError("No segment has a text that can be used.", "Let the timeline describe the clip first.")
            return self._start(timeline, question, made, backend)

    def _start(self, timeline: Timeline, question: str, made: Material, backend: Backend) -> SummaryRun:
        before = self.find(timeline, question)
        goes_on = before is not None and before.texts == made.texts and not before.finished
        name = hashlib.sha256(f"{RULES} {backend.identity()}".encode("utf-8", "surrogatepass")).hexdigest()[:24]
        run = SummaryRun(
            timeline=timeline,
            question=question,
            material=made,
            backend=backend,
            shots_of=lambda segments: self._shots(timeline, segments),
            keep=lambda summary: self._timelines.keep(timeline.identity, KIND, question, asdict(summary)),
            before=before if goes_on else None,
            known=self._reliability(name),
            found=lambda found: self._timelines.store.keep(JUDGING, JUDGING, name, list(found)),  # of no timeline
        )
        run.job = self._jobs.start(f"{PREFIX}{self._folder} {timeline.identity}", run.work)
        self._runs[timeline.identity] = run
        return run

    def _reliability(self, name: str) -> Reliability | None:
        for document in self._timelines.documents(JUDGING, JUDGING):
            if document.name == name:
                try:
                    found: tuple[AskedAs, str] = read_value(tuple[AskedAs, str], document.value)
                except FieldError:
                    return None
                return found
        return None

    def _shots(self, timeline: Timeline, identities: Sequence[int]) -> list[list[Shot]]:
        """The frames that these segments were described from. Those that are gone are left out."""
        of = {segment.identity: segment for segment in self._timelines.segments(timeline.identity)}
        segments = [of[identity] for identity in identities if identity in of]
        path = self._timelines.path_of(timeline)
        return [self._shots_of(segment, path) for segment in segments]

    def _shots_of(self, segment: Segment, path: Path | None) -> list[Shot]:
        times = [ref.timestamp_seconds for ref in segment.frames]
        stored = [self._timelines.store.picture(segment.identity, number) for number in range(len(times))]
        kept = [
            Shot(time, Image.open(io.BytesIO(data)).convert("RGB"))
            for time, data in zip(times, stored)
            if data is not None
        ]
        if kept or path is None or not times:
            return kept
        try:
            frames = take_frames(path, times).frames
        except LensError:
            return []
        return [Shot(frame.timestamp_seconds, frame.image) for frame in frames]

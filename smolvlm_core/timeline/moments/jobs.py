"""Searches for moments as jobs, and the curves that are kept with their clips. Does not know pages.

A job is named by the data folder and the clip, so that any page and tab finds it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from smolvlm_core.backends.base import Backend
from smolvlm_core.errors import LensError
from smolvlm_core.fields import FieldError
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.moments.curve import Curve
from smolvlm_core.timeline.moments.find import find_moments
from smolvlm_core.timeline.moments.plan import Plan
from smolvlm_core.timeline.moments.wording import Wording
from smolvlm_core.video import ClipFacts
from smolvlm_core.work.job import Jobs, Running
from smolvlm_core.work.report import Report

PREFIX = "moments "
KIND = "curve"  # of the documents that the store keeps with a clip


class Search(Running):
    """A search that runs, or the last one of a clip. `curve`: so far; None before the first answers. Used from any thread."""

    def __init__(self, plan: Plan, wording: Wording, find: Callable[[Search, Report, threading.Event], Curve]) -> None:
        self.plan, self.wording = plan, wording
        self.curve: Curve | None = None
        self._find = find

    def work(self, report: Report, cancel: threading.Event) -> Curve:
        """Raises LensError: the clip or the model cannot be used, or the curve cannot be kept."""
        self.curve = self._find(self, report, cancel)
        return self.curve

    def put(self, curve: Curve) -> None:
        self.curve = curve


class Moments:
    """Used from any thread. One search for each clip at a time."""

    def __init__(self, folder: Path, jobs: Jobs, timelines: Timelines) -> None:
        self._folder, self._jobs, self._timelines = folder, jobs, timelines
        self._searches: dict[str, Search] = {}
        self._starting = threading.Lock()

    def begin(
        self, sha256: str, source: Path, facts: ClipFacts, wording: Wording, backend: Backend, plan: Plan
    ) -> Search:
        """Search a clip. The curve is kept, in place of an earlier one of the same question.

        Raises:
            LensError: a search of this clip runs.
        """

        def find(search: Search, report: Report, cancel: threading.Event) -> Curve:
            curve = find_moments(source, facts, wording, backend, plan, cancel, report, search.put)
            if curve.complete:
                self.keep(sha256, curve)
            return curve

        with self._starting:
            before = self._searches.get(sha256)
            if before is not None and before.is_running:
                raise LensError("A search of this clip is running.", "Stop it first, or wait.")
            search = Search(plan, wording, find)
            search.job = self._jobs.start(f"{PREFIX}{self._folder} {sha256}", search.work)
            self._searches[sha256] = search
            return search

    def search_of(self, sha256: str) -> Search | None:
        """The running search of a clip, or the last one in this process."""
        return self._searches.get(sha256)

    def keep(self, sha256: str, curve: Curve) -> None:
        """Raises StoreError."""
        self._timelines.keep(sha256, KIND, curve.typed, curve.as_row())

    def curves(self, sha256: str) -> list[Curve]:
        """Those that are kept with a clip, the newest first. What cannot be read is left out."""
        found: list[Curve] = []
        for document in self._timelines.documents(sha256, KIND):
            try:
                found.append(Curve.from_row(document.value))
            except FieldError:
                continue
        return found

    def forget(self, sha256: str, typed: str) -> None:
        """Raises StoreError."""
        self._timelines.forget(sha256, KIND, typed)

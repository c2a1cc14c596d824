"""One run of a batch as a job: pause, resume, stop, and where it stands. Does not know where batches are stored."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from smolvlm_core.backends.base import Backend
from smolvlm_core.batch.local import LocalEngine
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.results import Results
from smolvlm_core.batch.run import Batch, BatchProgress
from smolvlm_core.batch.sidecars import Sidecars
from smolvlm_core.prompt.generation import Progress
from smolvlm_core.work.gate import Gate
from smolvlm_core.work.job import Running
from smolvlm_core.work.report import Report


class Run(Running):
    """`job` does `work`. Everything may be used from any thread.

    `results`: the open results file; None before it is opened and after it is closed. `title`, `inputs`: of the request.
    """

    def __init__(
        self,
        *,
        title: str,
        inputs: tuple[str, ...],
        plan: Plan,
        backend: Backend,
        items: Iterable[Item],
        results_path: Path,
        sidecars: Sidecars | None,
        again: Mapping[bytes, Record] | None,
    ) -> None:
        self.title, self.inputs, self.sidecars = title, inputs, sidecars
        self.results: Results | None = None
        self._plan, self._backend, self._items, self._again = plan, backend, items, again
        self._path, self._gate = results_path, Gate()
        self._batch: Batch | None = None

    def work(self, report: Report, cancel: threading.Event) -> BatchProgress:
        """Raises LensError."""

        def loading(progress: Progress) -> None:
            report(progress.text, progress.fraction)

        with Results(self._path) as results:
            engine = LocalEngine(self._plan, self._backend, gate=self._gate, loading=loading)
            self._batch = Batch(
                self._items,
                self._plan,
                engine,
                results,
                sidecars=self.sidecars,
                gate=self._gate,
                again=self._again,
            )
            self.results = results
            try:
                return self._batch.run(report, cancel)
            finally:
                self.results = None

    @property
    def is_paused(self) -> bool:
        return self.is_running and self._gate.is_closed

    @property
    def progress(self) -> BatchProgress:
        return self._batch.progress if self._batch is not None else BatchProgress(is_paused=self.is_paused)

    def describe(self) -> str:
        """One line, for people: what it does, until the first answer is there."""
        progress = self.progress
        began = progress.answered or progress.failed
        return progress.describe() if began or self.is_paused else self.job.text

    def pause(self) -> None:
        """Running answers end; no further item is asked."""
        self._gate.close()

    def resume(self) -> None:
        self._gate.open()

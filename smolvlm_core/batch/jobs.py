"""The batches of a data folder: begin, go on, ask again, find, list, edit. Each has a folder with what was asked and its results.

Knows the registry of backends and jobs. Does not know pages.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.registry import Registry
from smolvlm_core.batch.inputs import expand
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.request import Request
from smolvlm_core.batch.results import Results, key_of, read_records
from smolvlm_core.batch.running import Run
from smolvlm_core.batch.sidecars import Outcome, Sidecars
from smolvlm_core.batch.survey import Survey, survey
from smolvlm_core.batch.table import Table
from smolvlm_core.batch.uploads import Uploads
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.fields import FieldError, read_object, seconds_of
from smolvlm_core.files import read_json, write_json
from smolvlm_core.work.job import Job, Jobs
from smolvlm_core.work.report import Report

PREFIX = "batch "
SURVEYS = "batch-survey "


@dataclass(frozen=True, kw_only=True)
class SavedBatch:
    """`created`: seconds since 1970. `fingerprint`: of its plan. `folder`: where it is stored."""

    identity: str
    request: Request
    created: float
    fingerprint: str
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"


class Batches:
    """One batch runs at a time. Used from any thread.

    `problem` is set where the description of a stored batch cannot be read: `all` leaves that batch out.
    """

    def __init__(self, folder: Path, jobs: Jobs, registry: Registry) -> None:
        self.uploads = Uploads(folder / "uploads")
        self.problem: StoreError | None = None
        self._folder, self._jobs, self._registry = folder / "batches", jobs, registry
        self._starting = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._tables: dict[str, Table] = {}

    # What there is

    def all(self) -> list[SavedBatch]:
        """The newest first."""
        self.problem = None
        found: list[SavedBatch] = []
        for path in self._folder.glob("*/batch.json"):
            try:
                found.append(_read(path))
            except StoreError as error:
                self.problem = error
        return sorted(found, key=lambda batch: batch.created, reverse=True)

    def find(self, identity: str) -> SavedBatch | None:
        """None where there is none, or it cannot be read."""
        return next((batch for batch in self.all() if batch.identity == identity), None)

    def table(self, batch: SavedBatch) -> Table:
        return self._tables.setdefault(batch.identity, Table(batch.results))

    @property
    def running(self) -> Run | None:
        return next((run for run in tuple(self._runs.values()) if run.is_running), None)

    def run_of(self, batch: SavedBatch) -> Run | None:
        """Its last run in this process."""
        return self._runs.get(batch.identity)

    # Before it starts

    def begin_survey(self, request: Request) -> Job:
        """Count in the background what a request would ask, until `forget_survey`.

        The job's result is a `Survey`, None where it was stopped. Its error says why the request cannot be asked.
        """

        def work(report: Report, cancel: threading.Event) -> Survey | None:
            request.check()
            plan = request.plan(self._backend(request))
            results = self._folder / request.identity(plan) / "results.jsonl"
            return survey(expand(request.inputs, request.prompt), plan.fingerprint, results, cancel)

        return self._jobs.start(f"{SURVEYS}{uuid.uuid4().hex}", work)

    def forget_survey(self, job: Job) -> None:
        self._jobs.drop(job.name)

    def delete_uploads(self, name: str) -> None:
        """Raises LensError where the running batch asks about them, or they cannot be deleted."""
        running = self.running
        if running is not None and self.uploads.input(name) in running.inputs:
            raise LensError(f"{running.title} is running and needs these files.", "Wait until it ends, or stop it.")
        self.uploads.delete(name)

    # Running

    def begin(self, request: Request) -> SavedBatch:
        """Start a batch, or continue the one of the same inputs, prompt, model and settings.

        Raises:
            LensError: another one runs, or it cannot be asked like that. What goes wrong later is the run's `problem`.
        """
        with self._starting:
            self._refuse_while_running()
            request.check()
            backend = self._backend(request)
            plan = request.plan(backend)
            batch = self._save(request, plan)
            self._start(batch, plan, backend)
            return batch

    def go_on(self, batch: SavedBatch) -> None:
        """Ask what is new, changed or failed. Raises LensError, as `begin`, and where the model is another one now."""
        with self._starting:
            self._refuse_while_running()
            plan, backend = self._same_plan(batch)
            self._start(batch, plan, backend)

    def ask_again(self, batch: SavedBatch, ids: set[str]) -> int:
        """Ask some records again; their new answers take the place of the old ones, also of edited ones.

        Returns:
            How many are asked: those whose files are gone stay as they are.

        Raises:
            LensError: as `go_on`, and where all of the files are gone.
        """
        with self._starting:
            self._refuse_while_running()
            plan, backend = self._same_plan(batch)
            again, items = _to_ask_again(batch, ids)
            if not items:
                raise LensError("The files of these rows are gone.", "Put them back, or leave the answers as they are.")
            self._start(batch, plan, backend, items=items, again=again)
            return len(items)

    def edit(self, batch: SavedBatch, row_id: str, text: str | None) -> Outcome | None:
        """Store what a person made of an answer, in the sidecar too; None as text takes it back.

        Returns:
            What became of the sidecar; None where the batch has none.

        Raises:
            StoreError: there is no such record, or it cannot be written.
        """
        with self._starting:
            old, new = self._edit(batch, row_id, text)
        self.table(batch).forget()
        if batch.request.sidecars is None:
            return None
        sidecars = Sidecars(batch.request.sidecars)
        outcome = sidecars.rewrite(old, new)
        if sidecars.problem is not None:
            raise sidecars.problem
        return outcome

    def _edit(self, batch: SavedBatch, row_id: str, text: str | None) -> tuple[Record, Record]:
        run = self.run_of(batch)
        if run is None or not run.is_running:
            with Results(batch.results) as results:
                return _edit(results, row_id, text)
        if (open_results := run.results) is None:
            raise StoreError("The batch is about to start or end.", "Try again in a moment.")
        return _edit(open_results, row_id, text)

    def _refuse_while_running(self) -> None:
        if (running := self.running) is not None:
            raise LensError(
                f"Another batch is running: {running.title.rstrip('.')}.", "Wait until it ends, or stop it."
            )

    def _backend(self, request: Request) -> Backend:
        return self._registry.make(request.entry, request.precision)

    def _same_plan(self, batch: SavedBatch) -> tuple[Plan, Backend]:
        backend = self._backend(batch.request)
        plan = batch.request.plan(backend)
        if plan.fingerprint != batch.fingerprint:
            raise LensError("The model has changed since this batch began.", "Start it again as a new batch.")
        return plan, backend

    def _save(self, request: Request, plan: Plan) -> SavedBatch:
        identity = request.identity(plan)
        before = self.find(identity)
        batch = SavedBatch(
            identity=identity,
            request=request,
            created=before.created if before is not None else time.time(),
            fingerprint=plan.fingerprint,
            folder=self._folder / identity,
        )
        row = {"created": batch.created, "fingerprint": batch.fingerprint, "request": asdict(request)}
        write_json(batch.folder / "batch.json", row, private=True)
        return batch

    def _start(
        self,
        batch: SavedBatch,
        plan: Plan,
        backend: Backend,
        items: list[Item] | None = None,
        again: dict[bytes, Record] | None = None,
    ) -> None:
        request = batch.request
        run = Run(
            title=request.title,
            inputs=request.inputs,
            plan=plan,
            backend=backend,
            items=items if items is not None else expand(request.inputs, request.prompt),
            results_path=batch.results,
            sidecars=Sidecars(request.sidecars) if request.sidecars is not None else None,
            again=again,
        )
        run.job = self._jobs.start(f"{PREFIX}{batch.folder}", run.work)  # users can have batches of one identity
        self._runs[batch.identity] = run


def _read(path: Path) -> SavedBatch:
    """Raises StoreError."""
    row = read_json(path, None)
    try:
        stored = read_object(_Stored, row)
        return SavedBatch(
            identity=path.parent.name,
            request=Request.from_row(stored.request),
            created=seconds_of(stored.created),
            fingerprint=stored.fingerprint,
            folder=path.parent,
        )
    except FieldError as error:
        raise StoreError(f"{path} does not describe a batch: {error}.", "Repair or remove that file.") from error


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A batch.json."""

    created: float
    fingerprint: str
    request: dict[str, Any]


def _to_ask_again(batch: SavedBatch, ids: set[str]) -> tuple[dict[bytes, Record], list[Item]]:
    records = [record for record in read_records(batch.results) if record.id in ids]
    items: list[Item] = []
    again: dict[bytes, Record] = {}
    for record in records:
        try:
            items.append(Item.of_name(record.item, record.prompt))
        except LensError:
            continue
        again[key_of(record.item, record.prompt, record.fingerprint)] = record
    return again, items


def _edit(results: Results, row_id: str, text: str | None) -> tuple[Record, Record]:
    """(the record before, the record after)"""
    old = next((record for record in results.records() if record.id == row_id), None)
    results.edit(row_id, text)
    assert old is not None, "`edit` raises where there is no such record"
    return old, replace(old, edited=text)

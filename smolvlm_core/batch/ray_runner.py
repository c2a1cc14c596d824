"""Runs a batch on a Ray cluster: each worker loads the model once, and records come back as they are finished.

Knows Ray Data. What is done with one item is `batch.answer`, as on this machine. Does not know where records are stored.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.ready import load
from smolvlm_core.backends.registry import Registry
from smolvlm_core.batch.answer import ask, prepare
from smolvlm_core.batch.engine import Engine
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.errors import BackendError, LensError, ModelError
from smolvlm_core.paths import data_folder
from smolvlm_core.work.pool import Pool

LOCAL = "local"
MOST_RETRIES = 5  # of a task whose worker was lost: an item that ends its worker must not do so for ever
MOST_TASKS = 10_000  # Ray keeps account of each
LOCAL_OBJECT_STORE_BYTES = 256 * 2**20  # paths and records only; Ray's default is a third of the memory


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Where a batch runs, and with how much.

    Attributes:
        address: "local" starts Ray on this machine; "auto" or "host:6379" is a cluster that runs.
        actors: workers, each with a model of its own.
        cpus, gpus: that each worker reserves. A worker without a GPU computes with so many threads.
        parallel: items that a worker has at hand: one is read while another is answered.
        items_per_task: come back together. They are asked again together where a worker is lost.
    """

    address: str = LOCAL
    actors: int = 1
    cpus: float = 1
    gpus: float = 0
    parallel: int = 2
    items_per_task: int = 4


def ray_engine(plan: Plan, model: str, settings: RaySettings, *, precision: str = "") -> Engine:
    """An engine that asks `model`, a name for `Registry.make`, on the workers of a cluster.

    Every worker must find the files of the items under the same paths. Once `cancel` is set, the engine ends with the next task.
    It raises:
        ModelError: Ray is not installed, or a worker lacks the model or has other weights than the plan's.
        BackendError: the cluster cannot be reached, or lost the batch.
    """

    def run(items: Iterable[Item], cancel: threading.Event) -> Iterator[Record]:
        rows = [{"path": str(item.path), "member": item.member, "prompt": item.prompt} for item in items]
        if rows:
            with connected(settings.address) as ray:
                yield from _records(_answers(ray, rows, plan, model, settings, precision), ray, cancel)

    return run


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray's module, connected until the end of the block. A process that is connected already stays so.

    Raises:
        ModelError: Ray is not installed.
        BackendError: nothing can be reached at `address`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reads both when it starts
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it writes to the terminal otherwise
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ModelError("Ray is not installed.", "Run `pip install -r requirements-ray.txt`.") from error
    if ray.is_initialized():
        yield ray
        return
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address, log_to_driver=False, logging_level=logging.ERROR, **(here if address == LOCAL else {})
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BackendError(
            f"Ray cannot be reached at {address}: {error}.", "Run `ray start --head` there, or use the address local."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()  # ends what its workers still do


def _answers(
    ray: Any, rows: list[dict[str, str]], plan: Plan, model: str, settings: RaySettings, precision: str
) -> Iterator[dict[str, str]]:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    tasks = min(MOST_TASKS, -(-len(rows) // settings.items_per_task))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`ray_remote_args`")  # 2.60 has no other way yet to limit retries
        answered = ray.data.from_items(rows, override_num_blocks=tasks).map_batches(
            Worker,
            fn_constructor_args=(plan, model, precision, settings.parallel),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(settings.actors, tasks)),
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            max_task_retries=MOST_RETRIES,
        )
    for batch in answered.iter_batches(batch_size=None, prefetch_batches=0):
        for line, problem, hint in zip(batch["record"], batch["problem"], batch["hint"]):
            yield {"record": line, "problem": problem, "hint": hint}


def _records(answers: Iterator[dict[str, str]], ray: Any, cancel: threading.Event) -> Iterator[Record]:
    try:
        for answer in answers:
            if answer["problem"]:
                raise ModelError(answer["problem"], answer["hint"])
            yield Record.from_line(answer["record"])
            if cancel.is_set():
                return
    except (ray.exceptions.RayTaskError, ray.exceptions.UserCodeException):
        raise  # a bug in a worker
    except ray.exceptions.RayError as error:
        reason = str(error).partition("\n")[0]
        raise BackendError(f"Ray lost the batch: {reason}", "`ray status` shows the cluster. Run it again.") from error


class Worker:
    """A worker's model, and what is done with the items of a task.

    An error of the model is returned, not raised: Ray would try again what cannot succeed.
    """

    def __init__(self, plan: Plan, model: str, precision: str, parallel: int) -> None:
        self._plan, self._threads = plan, ThreadPoolExecutor(parallel)
        self._backend: Backend | None = None
        try:
            self._backend = _loaded(plan, model, precision)
        except LensError as error:
            self._problem, self._hint = Exception.__str__(error), error.hint

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """`batch` and the result have a column of strings for each name."""
        if self._backend is None:
            return {"record": [""], "problem": [self._problem], "hint": [self._hint]}
        items = [
            Item(path=Path(str(path)), member=str(member), prompt=str(prompt))
            for path, member, prompt in zip(batch["path"], batch["member"], batch["prompt"])
        ]
        records = [record.as_line() for record in self._threads.map(self._record, items)]
        return {"record": records, "problem": [""] * len(records), "hint": [""] * len(records)}

    def _record(self, item: Item) -> Record:
        assert self._backend is not None
        never = threading.Event()
        prepared = prepare(item, self._plan, self._backend, never)
        record = ask(prepared, self._plan, self._backend, never)
        return record or replace(prepared.record, error="The answer ended before it was complete.")


def _loaded(plan: Plan, model: str, precision: str) -> Backend:
    """The plan's model on this machine. Raises LensError where it cannot be loaded or its weights are others."""
    backend = Registry(data_folder(), Pool()).make(model, precision)
    if backend.identity() != plan.model:
        raise ModelError(
            f"A worker has other weights than this batch: {backend.identity()} instead of {plan.model}.",
            "Use a model from the hub, or a checkpoint folder with the same path, files and file times on every machine.",
        )
    load(backend, plan.settings, threading.Event())
    return backend

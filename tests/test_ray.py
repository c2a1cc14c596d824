"""A batch on Ray: two workers, one of them killed, give the records that this machine gives."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.batch.answer import ask, prepare
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.ray_runner import LOCAL, RaySettings, connected, ray_engine
from smolvlm_core.batch.records import Record
from smolvlm_core.errors import ModelError
from smolvlm_core.models.catalog import BUNDLED
from smolvlm_core.prompt.generation import GenerationSettings

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -r requirements-ray.txt"
)
COUNT = 24
TASK = "submit"  # in the title of a worker's process while it has a task
SETTINGS = RaySettings(actors=2, items_per_task=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One for all tests, since it takes seconds to start. The engine uses the connection of its process."""
    with connected(LOCAL):
        yield


def items_in(folder: Path) -> list[Item]:
    """Large pictures, so that reading them takes a while. One item has no file."""
    out = []
    for i in range(COUNT):
        path = folder / f"{i}.png"
        if i:
            image = Image.new("RGB", (1600, 1600), "white")
            box = (300 + 20 * i, 300, 1000 + 20 * i, 1000)
            ImageDraw.Draw(image).ellipse(box, fill=("red", "blue", "yellow")[i % 3])
            image.save(path, compress_level=1)
        out.append(Item(path=path, prompt="What color is the circle?"))
    return out


def comparable(record: Record) -> tuple[object, ...]:
    return record.id, record.item, record.answer, record.error, record.sha256, record.weights, record.fingerprint


def a_worker_with_a_task() -> psutil.Process:
    """Stopped in the middle of its task."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for process in psutil.process_iter():
            try:
                if "Worker" in (title := " ".join(process.cmdline())) and title.startswith("ray::") and TASK in title:
                    process.suspend()
                    if TASK in " ".join(process.cmdline()):
                        return process
                    process.resume()
            except psutil.Error:
                continue
    raise AssertionError("no worker has a task")


@needs_ray
@pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by POSIX signals")
def test_two_workers_of_which_one_is_killed(backend: TransformersBackend, cluster: None, tmp_path: Path) -> None:
    plan = Plan(model=backend.identity(), settings=GenerationSettings(max_new_tokens=16))
    items = items_in(tmp_path)
    cancel, killed = threading.Event(), 0
    found: list[Record] = []
    for record in ray_engine(plan, BUNDLED, SETTINGS, precision="bfloat16")(items, cancel):
        found.append(record)
        if len(found) == 1:
            worker = a_worker_with_a_task()
            killed = worker.pid
            os.kill(worker.pid, signal.SIGKILL)
    assert killed
    here = [ask(prepare(item, plan, backend, cancel), plan, backend, cancel) for item in items]
    assert len(found) == COUNT
    assert sorted(map(comparable, found)) == sorted(comparable(record) for record in here if record is not None)
    assert [record.item for record in found if record.error] == [str(items[0].path)]


@needs_ray
def test_a_worker_with_other_weights_ends_the_batch(cluster: None, tmp_path: Path) -> None:
    engine = ray_engine(Plan(model="other weights"), BUNDLED, SETTINGS, precision="bfloat16")
    with pytest.raises(ModelError, match="other weights than this batch.*other weights"):
        list(engine([Item(path=tmp_path / "a.png", prompt="?")], threading.Event()))


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = ray_engine(Plan(model="any"), BUNDLED, SETTINGS)
    with pytest.raises(ModelError, match="requirements-ray.txt"):
        list(engine([Item(path=tmp_path / "a.png", prompt="?")], threading.Event()))

"""Batches: from inputs to one record an item, whatever happens in between. The bundled model and a toy backend, for real."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.batch.answer import ask, prepare
from smolvlm_core.batch.inputs import expand
from smolvlm_core.batch.lists import read_list
from smolvlm_core.batch.local import LocalEngine
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.results import Results, read_records
from smolvlm_core.batch.run import Batch, BatchProgress
from smolvlm_core.batch.sidecars import SidecarOptions, Sidecars
from smolvlm_core.cli import main
from smolvlm_core.conversations.unsaved import ClipSampling
from smolvlm_core.errors import BackendError, LensError, ModelError, StoreError
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.work import pipeline
from smolvlm_core.work.gate import Gate
from smolvlm_core.work.job import Job
from smolvlm_core.work.pipeline import AHEAD
from tests.conftest import Writer, drawn, encoded
from tests.toy_backend import COLORS, ToyBackend

ROOT = Path(__file__).resolve().parent.parent
ASKED = "What color is the shape?"
SHORT = GenerationSettings(max_new_tokens=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def draw(folder: Path, count: int, start: int = 0) -> list[tuple[Path, str]]:
    """Pictures that all differ, with the name of each one's color."""
    names = list(COLORS)
    out = []
    for n in range(start, start + count):
        path, color = folder / f"{n:04}.png", names[n % len(names)]
        drawn(color, size=40 + n % 60, background=f"#ff{255 - n % 8:02x}ff").save(path)
        out.append((path, color))
    return out


def plan_of(backend: Backend, **more: object) -> Plan:
    return Plan(model=backend.identity(), settings=SHORT, **more)  # type: ignore[arg-type]


def run(
    inputs: list[Path] | Path,
    out: Path,
    backend: Backend | None = None,
    prompt: str = ASKED,
    plan: Plan | None = None,
    sidecars: Sidecars | None = None,
    parallel: int = 4,
) -> tuple[BatchProgress, list[Record]]:
    """One run to its end, and the file after it."""
    backend = backend or ToyBackend("a")
    plan = plan or plan_of(backend)
    with Results(out) as results:
        items = expand(inputs if isinstance(inputs, list) else [inputs], prompt)
        batch = Batch(items, plan, LocalEngine(plan, backend, parallel=parallel), results, sidecars=sidecars)
        progress = batch.run(lambda text, fraction: None, threading.Event())
        records = list(results.records())
    assert len({record.id for record in records}) == len(records)
    return progress, records


def counts(progress: BatchProgress) -> tuple[int, int, int]:
    """(answered, failed, answered before)"""
    assert progress.remaining == 0
    return progress.answered, progress.failed, progress.skipped


# Inputs


def test_inputs_of_all_kinds_in_a_stable_order_each_once(folder: Path, tmp_path: Path) -> None:
    draw(folder, 2)
    (folder / "sub").mkdir()
    for name in ("sub/z.JPG", "sub/clip.mp4", ".hidden.png", "0000.txt", "notes.csv", "odd.bin"):
        (folder / name).write_bytes(b"x")
    os.mkfifo(folder / "fifo.png")
    (folder / "loop").symlink_to(folder)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("b/y.png", "a.webp", "__MACOSX/._a.webp", "read.me", ".x/c.png"):
            archive.writestr(name, b"x")
    (tmp_path / "list.csv").write_text('\ufeffImage;Prompt\nin/odd.bin;"own; prompt"\n\nin/0000.png;\n')
    (tmp_path / "list.jsonl").write_text('{"video": "in/sub/clip.mp4", "prompt": "own"}\n\n{"path": "gone.png"}\n')
    inputs = [folder, folder / "0000.png", f"{folder}/**/*", tmp_path / "a.zip", tmp_path / "list.csv"]
    inputs += [tmp_path / "list.jsonl", folder / ".." / "in" / ".hidden.png"]

    found = [(item.name.removeprefix(f"{tmp_path}/"), item.prompt) for item in expand(inputs, "all")]
    assert found == [
        ("in/0000.png", "all"),
        ("in/0001.png", "all"),
        ("in/sub/clip.mp4", "all"),
        ("in/sub/z.JPG", "all"),
        ("a.zip!a.webp", "all"),
        ("a.zip!b/y.png", "all"),
        ("in/odd.bin", "own; prompt"),
        ("in/sub/clip.mp4", "own"),
        ("gone.png", "all"),
        ("in/.hidden.png", "all"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.png", None, "gone.png does not exist"),
        ("*.png", None, r"\*.png has no pictures or clips"),
        ("a.zip", "x", "a.zip is not a zip archive"),
        ("a.csv", "name,prompt\nx,y\n", "no column with paths"),
        ("a.csv", "path,prompt\na.png,What, exactly?\n", "Line 2 .* more cells than the header"),
        ("a.csv", 'path,prompt\na.png,x\nb.png,"x\n', "is not CSV"),
        ("a.csv", "path,prompt\na.png,x\n,x\n", "Line 3 .* has no path"),
        ("a.csv", "path,prompt\na.png,\n", r"a.png \(line 2 of .*a.csv\) has no prompt"),
        ("a.jsonl", '{"path": "a.png", "prompt": "x"}\n{"path"\n', "Line 2 .* is not JSON"),
        ("a.jsonl", '{"path": "a.png", "prompt": "x"}\n' + " " * 1_000_001, "Line 2 .* has more than 1,000,000"),
        ("a.csv", "path,prompt\na.png," + "x" * 1_000_001, "Line 2 .* has more than 1,000,000"),
        ("a.jsonl", '["a.png"]\n', "Line 1 .* is not a JSON object"),
        ("a.jsonl", '{"path": "a.png", "prompt": 7}\n', "Line 1 .* prompt that is not text"),
        ("a.jsonl", '{"path": 7, "prompt": "x"}\n', "Line 1 .* has no path"),
        ("a.jsonl", "", "a.jsonl has no pictures or clips"),
        ("a.csv", b"path\n\xff\xfe.png\n", "not UTF-8"),
        ("a.png", "x", "a.png has no prompt"),
    ],
)
def test_inputs_that_cannot_be_used_are_named(
    name: str, content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LensError, match=message):
        list(expand([tmp_path / name]))


def test_a_device_is_refused_and_a_fifo_in_a_list_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "fifo.png")
    with pytest.raises(LensError, match="neither a file nor a folder"):
        list(expand([folder / "fifo.png"], "x"))
    (folder / "list.csv").write_text("path\nfifo.png\n")
    progress, (record,) = run(folder / "list.csv", folder / "out.jsonl")
    assert counts(progress) == (0, 1, 0) and "is not a file" in record.error


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), st.sampled_from([",", ";", "\t"]))
def test_lists_come_back_as_they_were_written(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str) -> None:
    rows = [(path.strip(), prompt.strip()) for path, prompt in rows if path.strip()]
    table = io.StringIO()
    csv.writer(table, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("path", "prompt"), *rows])
    (tmp_path / "a.csv").write_bytes(table.getvalue().encode())
    lines = [json.dumps({"path": path, "prompt": prompt}, ensure_ascii=False) for path, prompt in rows]
    (tmp_path / "a.jsonl").write_bytes("\n".join(lines).encode())
    for name in ("a.csv", "a.jsonl"):
        assert [(row.path, row.prompt) for row in read_list(tmp_path / name)] == rows


# The results file

FIRST = [
    Record(id=f"{n:032}", item=f"/ä{n}.png", prompt="p\u2028\n", answer="x" * n, fingerprint="f") for n in range(4)
]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_that_ends_anywhere_loses_only_what_was_not_complete(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "r.jsonl"
    lines = [(record.as_line() + "\n").encode() for record in FIRST]
    whole = b"".join(lines)
    end = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:end] + data.draw(st.sampled_from([b"", b"\0" * 9 if whole[:end].endswith(b"\n") else b""])))
    complete = sum(len(b"".join(lines[: n + 1])) - 1 <= end for n in range(len(lines)))  # the line end may be missing
    with Results(path) as results:
        assert list(results.records()) == FIRST[:complete]
        results.append(FIRST[3])
    assert list(read_records(path)) == [*FIRST[:complete], FIRST[3]]


@pytest.mark.parametrize("content", [b"a picture\n", b'{"path": "a.png"}\n', b"no line end", b'{"id": 3}\n{"id"'])
def test_other_files_are_refused_and_stay_as_they_are(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(content)
    for _ in range(2):  # the lock is given back
        with pytest.raises(StoreError, match="Line 1 of .* is not a record"):
            Results(tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == content


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Results(tmp_path / "r.jsonl"):
        with pytest.raises(StoreError, match="in use by another batch"):
            Results(tmp_path / "r.jsonl")
    Results(tmp_path / "r.jsonl").close()


def test_a_full_disk_leaves_whole_records(tmp_path: Path) -> None:
    """A part of a line was written, then there was no room."""

    class Full(io.FileIO):
        def write(self, data: object) -> int:
            super().write(bytes(memoryview(data)[:5]))  # type: ignore[arg-type]
            raise OSError(28, "No space left on device")

    with Results(tmp_path / "r.jsonl") as results:
        results.append(FIRST[0])
        good, results._file = results._file, Full(tmp_path / "r.jsonl", "ab")
        with pytest.raises(StoreError, match="No space left"):
            results.append(FIRST[1])
        good, results._file = results._file, good
        results.append(FIRST[2])
        good.close()
    assert list(read_records(tmp_path / "r.jsonl")) == [FIRST[0], FIRST[2]]


def test_edits_stay_and_a_failed_record_that_a_person_answered_is_not_asked_again(folder: Path, tmp_path: Path) -> None:
    draw(folder, 2)
    (folder / "damaged.png").write_bytes(b"x")
    _, records = run(folder, tmp_path / "r.jsonl")
    plain = next(record for record in records if not record.error)
    with Results(tmp_path / "r.jsonl") as results:
        for record in records:
            results.edit(record.id, f"mine {record.kind}")
        results.edit(plain.id, None)
        with pytest.raises(StoreError, match="no record"):
            results.edit("0", "x")
    progress, after = run(folder, tmp_path / "r.jsonl")
    assert counts(progress) == (0, 0, 3)
    assert after == [r if r is plain else replace(r, edited=f"mine {r.kind}") for r in records]


# What is asked again


def test_only_what_is_new_failed_or_changed_is_asked(folder: Path, tmp_path: Path) -> None:
    out, drawings = tmp_path / "r.jsonl", draw(folder, 6)
    (folder / "damaged.png").write_bytes(b"x")
    progress, first = run(folder, out)
    assert counts(progress) == (6, 1, 0)
    assert {(r.item, r.answer) for r in first if not r.error} == {(str(p), f"{c.capitalize()}.") for p, c in drawings}

    drawn("yellow").save(folder / "0000.png")  # other bytes
    os.utime(folder / "0001.png", ns=(1, 1))  # the same bytes
    (folder / "0002.png").unlink()
    progress, second = run([folder, folder / "0003.png"], out)
    assert counts(progress) == (1, 1, 4), "changed and failed again, answered before; the one that is gone is no input"
    assert {r.item: r.text for r in second}[str(folder / "0000.png")] == "Yellow."
    assert len(second) == 7 and [r for r in first if r in second] == [
        r for r in first if r.kind and "0000" not in r.item
    ]

    drawn("red").save(folder / "damaged.png")
    progress, third = run(folder, out, prompt="Which color?")
    assert counts(progress) == (6, 0, 0) and len(third) == 13, "another prompt is another record"
    other = ToyBackend("b")
    progress, fourth = run(folder, out, other)
    assert counts(progress) == (6, 0, 0) and len(fourth) == 19, "so is another model"
    progress, fourth = run(folder, out, plan=plan_of(other, sampling=ClipSampling(frames=3)), backend=other)
    assert counts(progress) == (6, 0, 0) and len(fourth) == 25


def test_an_answer_stays_when_its_file_is_gone(folder: Path, tmp_path: Path) -> None:
    ((path, _),) = draw(folder, 1)
    (folder / "list.csv").write_text(f"path\n{path}\n")
    _, records = run(folder / "list.csv", tmp_path / "r.jsonl")
    path.unlink()
    progress, after = run(folder / "list.csv", tmp_path / "r.jsonl")
    assert counts(progress) == (0, 0, 1) and after == records


def test_members_of_a_changed_archive_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    def write(**colors: str) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name, color in colors.items():
                archive.writestr(f"{name}.png", encoded(drawn(color)))

    write(a="red", b="blue")
    run(tmp_path / "a.zip", tmp_path / "r.jsonl")
    write(c="green", a="yellow", b="blue")
    progress, records = run(tmp_path / "a.zip", tmp_path / "r.jsonl")
    assert counts(progress) == (2, 0, 1)
    assert {r.item[-5:]: r.text for r in records} == {"a.png": "Yellow.", "b.png": "Blue.", "c.png": "Green."}


def test_nothing_is_forgotten_before_the_model_is_loaded(folder: Path, tmp_path: Path) -> None:
    class Broken(ToyBackend):
        def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            raise ModelError("The weights are damaged.")

    (folder / "damaged.png").write_bytes(b"x")
    _, records = run(folder, tmp_path / "r.jsonl")
    with pytest.raises(ModelError, match="weights are damaged"):
        run(folder, tmp_path / "r.jsonl", Broken("a"))
    assert list(read_records(tmp_path / "r.jsonl")) == records


KILLED = """
import sys, threading, time
from pathlib import Path
from smolvlm_core.batch.inputs import expand
from smolvlm_core.batch.local import LocalEngine
from smolvlm_core.batch.plan import Plan
from smolvlm_core.batch.results import Results
from smolvlm_core.batch.run import Batch
from smolvlm_core.batch.sidecars import SidecarOptions, Sidecars
from tests.toy_backend import ToyBackend

backend, sidecars = ToyBackend("a"), Sidecars(SidecarOptions())
plan = Plan(model=backend.identity())
with Results(Path(sys.argv[2])) as results:
    batch = Batch(expand([sys.argv[1]], "What?"), plan, LocalEngine(plan, backend), results, sidecars=sidecars)
    batch.run(lambda text, fraction: None, threading.Event())
"""


def test_a_killed_run_loses_and_doubles_nothing(folder: Path, tmp_path: Path) -> None:
    """kill -9 after a random number of records, again and again. What was in the file stays there, byte for byte."""
    drawings, out = draw(folder, 120), tmp_path / "r.jsonl"
    (folder / "damaged.png").write_bytes(b"x")  # asked in each run, so that each run also removes a record
    rng, before, kills = random.Random(7), set[bytes](), 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(out)], cwd=ROOT)
        wanted = len(before) + rng.randint(1, 24)
        while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < wanted):
            time.sleep(0.001)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        lines = set(out.read_bytes().splitlines(keepends=True))
        whole = {line for line in lines if line.endswith(b"\n") and b"damaged.png" not in line}
        assert before <= whole
        before = whole
        for record in map(Record.from_line, map(bytes.decode, whole)):  # sidecars come first
            assert Path(record.item).with_suffix(".txt").read_text() == f"{record.answer}\n"
        if process.returncode == 0:
            break
    progress, records = run(folder, out, prompt="What?", plan=Plan(model=ToyBackend("a").identity()))
    assert kills >= 3 and progress.remaining == 0 and progress.failed == 1
    assert len(records) == 121 and before <= set(out.read_bytes().splitlines(keepends=True))
    assert {r.item: r.answer for r in records if not r.error} == {str(p): f"{c.capitalize()}." for p, c in drawings}


# The engine


class Gauge(ToyBackend):
    """Counts answers at once, and lets a test hold them back. `prepared`: items that were read but not answered yet."""

    def __init__(self) -> None:
        super().__init__("gauge")
        self.lock, self.free = threading.Lock(), threading.Event()
        self.free.set()
        self.running = self.most_running = self.prepared = self.most_prepared = self.begun = 0
        self.on_answer: Callable[[int, threading.Event], None] = lambda number, cancel: None

    def read(self) -> None:
        with self.lock:
            self.prepared += 1
            self.most_prepared = max(self.most_prepared, self.prepared)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        with self.lock:
            self.begun += 1
            number, self.running = self.begun, self.running + 1
            self.most_running = max(self.most_running, self.running)
        try:
            while not self.free.wait(0.01) and not cancel.is_set():
                pass
            self.on_answer(number, cancel)
            yield Delta("Yes.")
            yield Stats("cancelled" if cancel.is_set() else "end")
        finally:
            with self.lock:
                self.running, self.prepared = self.running - 1, self.prepared - 1


class Read(Item):
    """An item that says when it is read."""

    gauge: Gauge

    def sha256(self) -> str:
        self.gauge.read()
        return super().sha256()


@pytest.fixture
def gauge() -> Gauge:
    return Gauge()


def items_of(gauge: Gauge, folder: Path, count: int) -> list[Item]:
    Read.gauge = gauge
    return [Read(path=path, prompt=ASKED) for path, _ in draw(folder, count)]


def start(gauge: Gauge, items: list[Item], results: Results, parallel: int = 3) -> tuple[Batch, Job]:
    plan, gate = plan_of(gauge), Gate()
    batch = Batch(items, plan, LocalEngine(plan, gauge, parallel=parallel, gate=gate), results, gate=gate)
    job = Job("batch", batch.run)
    job.start()
    return batch, job


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_only_a_few_items_are_in_memory_and_several_are_asked_at_once(gauge: Gauge, folder: Path) -> None:
    items, parallel = items_of(gauge, folder, 200), 5
    gauge.free.clear()
    with Results(folder / "r.jsonl") as results:
        _, job = start(gauge, items, results, parallel)
        until(lambda: gauge.running == parallel and gauge.prepared == parallel + AHEAD)
        gauge.free.set()
        job.wait(60)
        assert counts(job.result) == (200, 0, 0)
    assert (gauge.most_running, gauge.most_prepared) == (parallel, parallel + AHEAD)


def test_large_items_are_fewer_in_memory(gauge: Gauge, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "DECODED_BYTES", 1)
    items = items_of(gauge, folder, 20)
    gauge.free.clear()
    with Results(folder / "r.jsonl") as results:
        _, job = start(gauge, items, results)
        until(lambda: gauge.running >= 1)
        job.wait(0.3)
        assert gauge.prepared <= pipeline.PREPARING
        gauge.free.set()
        job.wait(60)
        assert counts(job.result) == (20, 0, 0)


def test_pause_lets_running_answers_end_and_starts_no_new_ones(gauge: Gauge, folder: Path) -> None:
    items = items_of(gauge, folder, 30)
    gauge.free.clear()
    with Results(folder / "r.jsonl") as results:
        batch, job = start(gauge, items, results)
        until(lambda: gauge.running == 3 and gauge.prepared == 3 + AHEAD)
        batch.pause()
        gauge.free.set()
        until(lambda: batch.progress.answered == 3)
        assert batch.progress.is_paused and "paused" in batch.progress.describe()
        job.wait(0.4)
        assert (gauge.begun, gauge.running, job.done) == (3, 0, False)
        batch.resume()
        job.wait(60)
        assert counts(job.result) == (30, 0, 0)


@pytest.mark.parametrize("paused", [False, True])
def test_cancel_ends_at_once_and_what_is_finished_stays(gauge: Gauge, folder: Path, paused: bool) -> None:
    items = items_of(gauge, folder, 30)
    with Results(folder / "r.jsonl") as results:
        gauge.on_answer = lambda number, cancel: gauge.free.clear() if number == 10 else None
        batch, job = start(gauge, items, results)
        until(lambda: batch.progress.answered >= 10 and gauge.running == 3)
        if paused:
            batch.pause()
        job.cancel.set()
        job.wait(5)
        assert job.done and job.problem is None and gauge.running == 0
        records = list(results.records())
        assert len(records) == batch.progress.answered and not any(record.error for record in records)
        assert batch.progress.remaining == 30 - len(records)
    gauge.free.set()
    progress, after = run(folder, folder / "r.jsonl", gauge)
    assert counts(progress) == (30 - len(records), 0, len(records)) and after[: len(records)] == records


def test_a_clip_whose_sampling_was_cancelled_is_no_failure(write_clip: Writer) -> None:
    item, toy, cancel = Item(path=write_clip(), prompt=ASKED), ToyBackend("a"), threading.Event()
    cancel.set()
    prepared = prepare(item, plan_of(toy), toy, cancel)
    assert "cancelled" in prepared.record.error and ask(prepared, plan_of(toy), toy, cancel) is None


@pytest.mark.parametrize("paused", [False, True])
def test_a_bug_ends_the_run_with_itself_and_does_not_hang(gauge: Gauge, folder: Path, paused: bool) -> None:
    items = items_of(gauge, folder, 40)

    def fail(number: int, cancel: threading.Event) -> None:
        if number == 12:
            if paused:
                until(lambda: batch.progress.answered >= 9)
                batch.pause()
            raise ZeroDivisionError("a bug")

    gauge.on_answer = fail
    gauge.free.clear()
    with Results(folder / "r.jsonl") as results:
        batch, job = start(gauge, items, results)
        gauge.free.set()
        job.wait(20)
        with pytest.raises(ZeroDivisionError):
            _ = job.result
        assert 9 <= batch.progress.answered == len(list(results.records())) < 40 and gauge.running == 0


def test_a_backend_that_fails_or_gives_up_fails_that_item_only(gauge: Gauge, folder: Path) -> None:
    def fail(number: int, cancel: threading.Event) -> None:
        if number == 5:
            cancel.set()  # as `follow` does when nobody listens
        if number == 6:
            raise BackendError("The server is busy.")

    gauge.on_answer = fail
    items = items_of(gauge, folder, 20)
    with Results(folder / "r.jsonl") as results:
        _, job = start(gauge, items, results)
        job.wait(20)
        assert counts(job.result) == (18, 2, 0)
        errors = sorted(record.error for record in results.records() if record.error)
    assert errors == ["The answer ended before it was complete.", "The server is busy."]


# Sidecars


def sidecars(**options: object) -> Sidecars:
    return Sidecars(SidecarOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("existing", "expected"), [("skip", "old"), ("overwrite", "<Red.>\n"), ("append", "old\n<Red.>\n")]
)
def test_sidecars_of_files_that_have_one(existing: str, expected: str, folder: Path, tmp_path: Path) -> None:
    draw(folder, 2)
    (folder / "0000.cap").write_text("old")
    written = sidecars(suffix=".cap", before="<", after=">", existing=existing)
    _, records = run(folder, tmp_path / "r.jsonl", sidecars=written)
    assert (folder / "0000.cap").read_text() == expected and (folder / "0001.cap").read_text() == "<Green.>\n"

    (folder / "0001.cap").unlink()
    (folder / "0000.cap").write_text("by hand")
    again = sidecars(suffix=".cap", before="<", after=">", existing=existing)
    progress, _ = run(folder, tmp_path / "r.jsonl", sidecars=again)
    assert counts(progress) == (0, 0, 2) and again.outcomes == {"written": 1, "exists": 1}
    assert (folder / "0000.cap").read_text() == "by hand" and (folder / "0001.cap").read_text() == "<Green.>\n"

    (folder / "0001.cap").write_text("x\n<Green.>\n")  # a run that ended before its record was stored
    assert existing != "append" or again.write(next(r for r in records if "0001" in r.item)) == "exists"


def test_sidecars_that_cannot_be_or_are_shared_are_counted(folder: Path, tmp_path: Path) -> None:
    draw(folder, 1)
    drawn("blue").save(folder / "0000.bmp")
    (folder / "damaged.png").write_bytes(b"x")
    (folder / "dir.txt").mkdir()
    drawn("blue", size=90).save(folder / "dir.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a" * 250 + ".png", encoded(drawn("green")))  # too long for a file beside the archive
    written = sidecars(existing="overwrite")
    progress, _ = run([folder, tmp_path / "a.zip"], tmp_path / "r.jsonl", sidecars=written)
    assert counts(progress) == (4, 1, 0)
    assert written.outcomes == {"written": 1, "shared": 1, "no file": 1, "failed": 1}
    assert (folder / "0000.txt").read_text() == "Blue.\n" and written.problem is not None
    assert sorted(path.name for path in folder.glob("*.txt")) == ["0000.txt", "dir.txt"]


@pytest.mark.parametrize("suffix", ["txt", ".", ".PNG", ".mp4", "./x", ""])
def test_suffixes_that_would_harm_are_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        SidecarOptions(suffix=suffix)


# The bundled model, and the command


def test_pictures_clips_archives_and_lists_end_to_end(
    backend: TransformersBackend, folder: Path, tmp_path: Path, write_clip: Writer
) -> None:
    drawn("red").save(folder / "red.png")
    drawn("blue", size=280).save(folder / "blue.jpg")
    write_clip("in/clip.mp4")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/green.png", encoded(drawn("green", size=260)))
        archive.write(folder / "clip.mp4", "clip.mp4")
    (tmp_path / "list.csv").write_text('path,prompt\nin/red.png,"How many shapes are there?"\nin/gone.png,\n')
    plan = Plan(model=backend.identity(), settings=SHORT, sampling=ClipSampling(frames=3))
    inputs = [folder, tmp_path / "a.zip", tmp_path / "list.csv"]
    progress, records = run(inputs, tmp_path / "r.jsonl", backend, "What color is the circle?", plan)
    assert counts(progress) == (6, 1, 0)
    answers = {(Path(r.item).name, r.prompt): r.answer for r in records}
    for name, color in (("red.png", "Red."), ("blue.jpg", "Blue."), ("green.png", "Green.")):
        assert answers[name, "What color is the circle?"] == color
    assert answers["red.png", "How many shapes are there?"]
    clips = [record for record in records if record.kind == "video"]
    assert len(clips) == 2 and clips[0].frames == clips[1].frames and len(clips[0].frames) == 3
    assert all(r.weights and r.stats["new_tokens"] and r.model for r in records if not r.error)
    assert counts(run(inputs, tmp_path / "r.jsonl", backend, "What color is the circle?", plan)[0]) == (0, 1, 6)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn("red").save(folder / "red.png")
    (folder / "damaged.png").write_bytes(b"x")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    command = ["batch", str(folder), "--prompt", "What color is the circle?", "--model", "smolvlm-shapes"]
    command += ["--out", str(tmp_path / "r.jsonl"), "--csv", str(tmp_path / "r.csv"), "--sidecar", "--prefix", "ohwx, "]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("failed: ") == 1 and "damaged.png is not an image" in err
    assert "1 answered, 1 failed, 0 answered before" in err and "sidecars written: 1" in err
    assert (folder / "red.txt").read_text() == "ohwx, Red.\n"
    rows = list(csv.DictReader((tmp_path / "r.csv").open(encoding="utf-8")))
    assert sorted((Path(row["item"]).name, row["text"], bool(row["error"])) for row in rows) == [
        ("damaged.png", "", True),
        ("red.png", "Red.", False),
    ]
    (folder / "damaged.png").unlink()
    assert main(command) == 0 and "0 answered, 0 failed, 1 answered before" in capsys.readouterr().err

    assert main([*command, "--json-schema", str(tmp_path / "schema.json")]) == 1
    assert "red.png: The answer is not JSON" in capsys.readouterr().err
    assert main([*command, "--max-new-tokens", "1"]) == 0
    assert "1 answers were cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("{}", "--prompt", "x", "--model", "nonsense"), 1, "no model or backend called 'nonsense'"),
        (("{}/gone", "--prompt", "x"), 1, "gone does not exist"),
        (("{}",), 1, "has no prompt"),
        (("{}", "--prompt", "x", "--frames", "2", "--fps", "1"), 2, "not allowed with"),
        (("{}", "--prompt", "x", "--fps", "-1"), 2, "fps is -1.0"),
        (("{}", "--prompt", "x", "--temperature", "9"), 2, "temperature is 9.0"),
        (("{}", "--prompt", "x", "--sidecar", "--sidecar-suffix", ".png"), 2, "suffix is '.png'"),
        (("{}", "--prompt", "x", "--prefix", "y"), 2, "need --sidecar"),
        (("{}", "--prompt", "x", "--json-schema", "README.md"), 1, "README.md is not JSON"),
        (("{}", "--prompt", "x", "--json-schema", "/dev/zero"), 1, "a device or a pipe"),
        (("{}", "--prompt", "x", "--out", "{}/0000.png"), 1, "not a record of a batch"),
    ],
)
def test_errors_have_exit_codes(
    args: tuple[str, ...], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(folder, 1)
    arguments = [arg.format(folder) for arg in args]
    if "--model" not in arguments:
        arguments += ["--model", "smolvlm-shapes"]
    if "--out" not in arguments:
        arguments += ["--out", str(folder / "r.jsonl")]
    try:
        found = main(["batch", *arguments])
    except SystemExit as stop:
        found = int(stop.code or 0)
    assert found == code and message in capsys.readouterr().err


def test_ctrl_c_ends_cleanly_and_the_next_run_goes_on(folder: Path, tmp_path: Path) -> None:
    draw(folder, 24)
    out = tmp_path / "r.jsonl"
    command = [sys.executable, "-m", "smolvlm_core", "batch", str(folder), "--prompt", ASKED, "--out", str(out)]
    command += ["--model", "smolvlm-shapes", "--max-new-tokens", "8"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until(lambda: out.exists() and out.read_bytes().count(b"\n") >= 2, 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again" in err and "Traceback" not in err
    before = list(read_records(out))
    assert 2 <= len(before) < 24 and not any(record.error for record in before)
    assert main(command[3:]) == 0
    assert list(read_records(out))[: len(before)] == before and len(list(read_records(out))) == 24

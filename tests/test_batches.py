"""The batches of a data folder, without pages: begin, go on after a restart, ask again, edit, look through, export."""

from __future__ import annotations

import csv
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smolvlm_core.backends import registry
from smolvlm_core.batch.given import recall
from smolvlm_core.batch.inputs import expand
from smolvlm_core.batch.jobs import Batches, SavedBatch
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.request import Request
from smolvlm_core.batch.results import Results, export_csv, read_records
from smolvlm_core.batch.sidecar_zip import zip_sidecars
from smolvlm_core.batch.sidecars import SidecarOptions
from smolvlm_core.batch.table import Table, pick
from smolvlm_core.batch.uploads import Uploads
from smolvlm_core.conversations.unsaved import ClipSampling
from smolvlm_core.errors import LensError, MediaError, ModelError, StoreError
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Stats
from smolvlm_core.workspace import Workspace
from tests.conftest import Writer, drawn, encoded
from tests.test_batch import draw, until
from tests.toy_backend import ToyBackend, ToyEntry

ASKED = "What color is the shape?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def batches(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batches]:
    monkeypatch.setitem(registry.KINDS, "toy", ToyEntry)
    yield workspace.batches
    if (run := workspace.batches.running) is not None:
        run.stop()
        run.job.wait(20)


def toy(folder: Path, **more: object) -> Request:
    return Request(inputs=(str(folder),), prompt=ASKED, entry="toy:a", **more)  # type: ignore[arg-type]


def ended(batches: Batches, batch: SavedBatch) -> tuple[int, int, int]:
    """(answered, failed, answered before) of the last run, once it has ended."""
    run = batches.run_of(batch)
    assert run is not None
    run.job.wait(60)
    assert not run.is_running and run.problem is None
    return run.progress.answered, run.progress.failed, run.progress.skipped


def by_name(batch: SavedBatch) -> dict[str, Record]:
    return {Path(record.item).name: record for record in read_records(batch.results)}


def restarted(batches: Batches, workspace: Workspace) -> Batches:
    return Batches(workspace.folder, workspace.jobs, workspace.registry)


def test_a_batch_goes_on_after_a_restart_with_what_is_new_or_failed(
    batches: Batches, workspace: Workspace, folder: Path
) -> None:
    draw(folder, 3)
    (folder / "damaged.png").write_bytes(b"x")
    batch = batches.begin(toy(folder))
    assert ended(batches, batch) == (3, 1, 0)
    drawn("green", size=77).save(folder / "damaged.png")
    draw(folder, 1, start=3)
    again = restarted(batches, workspace)
    (found,) = again.all()
    assert found == batch and found.request == toy(folder) and again.run_of(found) is None
    again.go_on(found)
    assert ended(again, found) == (2, 0, 3)
    assert len(by_name(found)) == 5 and by_name(found)["damaged.png"].answer == "Green."
    assert again.begin(toy(folder)) == batch, "the same request is the same batch"
    assert ended(again, batch) == (0, 0, 5)
    other = again.begin(toy(folder, settings=GenerationSettings(max_new_tokens=9)))
    assert ended(again, other) == (5, 0, 0) and [one.identity for one in again.all()] == [
        other.identity,
        batch.identity,
    ]


class Slow(ToyBackend):
    """Waits for `go` before each answer after the second."""

    go = threading.Event()
    begun = 0

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        Slow.begun += 1
        if Slow.begun > 2:
            while not Slow.go.wait(0.02):
                if cancel.is_set():
                    yield Stats("cancelled")
                    return
        yield from super().generate(prompt, settings, cancel)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyEntry, "make", lambda self, pool, precision="": Slow(self.title))
    Slow.begun, Slow.go = 0, threading.Event()


def test_one_batch_runs_at_a_time_and_can_be_paused_stopped_and_continued(
    batches: Batches, folder: Path, slow: None
) -> None:
    draw(folder, 12)
    batch = batches.begin(toy(folder))
    run = batches.running
    assert run is not None and run is batches.run_of(batch)
    until(lambda: run.progress.answered == 2)
    with pytest.raises(LensError, match=r"Another batch is running: in: What color is the shape\?"):
        batches.begin(replace(toy(folder), prompt="another"))
    with pytest.raises(LensError, match="is running"):
        batches.go_on(batch)
    first = next(iter(by_name(batch).values()))
    batches.edit(batch, first.id, "by hand")
    run.pause()
    assert run.is_paused and run.describe().endswith("paused")
    run.resume()
    run.stop()
    run.job.wait(20)
    assert run.was_stopped and not run.is_running and run.progress.remaining == 10
    Slow.go.set()
    batches.go_on(batch)
    assert ended(batches, batch) == (10, 0, 2)
    edited = [record for record in read_records(batch.results) if record.edited is not None]
    assert [(record.id, record.text) for record in edited] == [(first.id, "by hand")]


def test_what_would_be_asked_is_counted_without_changing_anything(
    batches: Batches, folder: Path, write_clip: Writer
) -> None:
    draw(folder, 3)
    write_clip().rename(folder / "clip.mp4")
    (folder / "damaged.png").write_bytes(b"x")

    def counted(request: Request) -> str:
        job = batches.begin_survey(request)
        job.wait(20)
        batches.forget_survey(job)
        return str(job.result.describe()) if job.problem is None else str(job.error)

    assert counted(toy(folder)) == "5 items (1 clip)"
    assert batches.all() == []
    ended(batches, batches.begin(toy(folder)))
    drawn("blue", size=99).save(folder / "0001.png")
    before = batches.all()[0].results.read_bytes()
    assert counted(toy(folder)) == (
        "5 items (1 clip), 3 answered already and skipped, 1 failed before and asked again, 1 changed since and asked again"
    )
    assert counted(replace(toy(folder), prompt="another")) == "5 items (1 clip)"
    assert batches.all()[0].results.read_bytes() == before
    assert "gone does not exist" in counted(toy(folder / "gone"))
    assert "reserves" in counted(replace(toy(folder), prompt="<image>"))
    assert "The schema is not JSON" in counted(toy(folder, json_schema="{"))
    assert "no model or backend called 'nobody'" in counted(replace(toy(folder), entry="nobody"))


def test_rows_are_asked_again_and_their_sidecars_follow(batches: Batches, folder: Path) -> None:
    paths = [path for path, _ in draw(folder, 4)]
    batch = batches.begin(toy(folder, sidecars=SidecarOptions(before="a, ")))
    ended(batches, batch)
    records = by_name(batch)
    assert batches.edit(batch, records["0000.png"].id, "edited") == "written"
    assert paths[0].with_suffix(".txt").read_text() == "a, edited\n"
    drawn("yellow", size=91).save(paths[1])
    paths[2].unlink()
    paths[3].with_suffix(".txt").write_text("by hand")
    assert batches.ask_again(batch, {records[f"000{n}.png"].id for n in range(4)}) == 3
    assert ended(batches, batch) == (3, 0, 0)
    after = by_name(batch)
    assert len(after) == 4 and after["0002.png"] == records["0002.png"], "the answer of a file that is gone stays"
    assert after["0000.png"].edited is None and after["0001.png"].answer == "Yellow."
    texts = [path.with_suffix(".txt").read_text() for path in paths]
    assert texts == ["a, Red.\n", "a, Yellow.\n", "a, Blue.\n", "by hand"]
    with pytest.raises(LensError, match="files of these rows are gone"):
        batches.ask_again(batch, {after["0002.png"].id})


def test_answers_stay_where_the_model_cannot_be_loaded(
    batches: Batches, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(folder, 2)
    batch = batches.begin(toy(folder))
    ended(batches, batch)
    before = batch.results.read_bytes()

    def fails(*args: object) -> Iterator[Event]:
        raise ModelError("No weights.", "Download them.")
        yield

    monkeypatch.setattr(ToyBackend, "prepare", fails)
    batches.ask_again(batch, {record.id for record in read_records(batch.results)})
    run = batches.run_of(batch)
    assert run is not None
    run.job.wait(20)
    assert run.problem == "No weights. Download them." and batch.results.read_bytes() == before


def test_other_weights_are_another_batch(batches: Batches, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(folder, 1)
    batch = batches.begin(toy(folder))
    ended(batches, batch)
    monkeypatch.setattr(ToyBackend, "identity", lambda self: "new weights")
    for attempt in (lambda: batches.go_on(batch), lambda: batches.ask_again(batch, {"x"})):
        with pytest.raises(LensError, match="model has changed since"):
            attempt()
    other = batches.begin(toy(folder))
    ended(batches, other)
    assert other.identity != batch.identity


@pytest.mark.parametrize("existing", ["skip", "overwrite", "append"])
def test_an_edit_changes_only_the_sidecar_of_its_own_answer(batches: Batches, folder: Path, existing: str) -> None:
    ((path, _),) = draw(folder, 1)
    text = path.with_suffix(".txt")
    if existing == "append":
        text.write_text("first\n")
    batch = batches.begin(toy(folder, sidecars=SidecarOptions(existing=existing)))  # type: ignore[arg-type]
    ended(batches, batch)
    (record,) = read_records(batch.results)
    first = "first\n" if existing == "append" else ""
    assert batches.edit(batch, record.id, "edited") == "written" and text.read_text() == f"{first}edited\n"
    assert batches.edit(batch, record.id, None) == "written" and text.read_text() == f"{first}Red.\n"
    text.write_text("Red.\nby hand\n")
    outcome = batches.edit(batch, record.id, "again")
    expected = ("written", "again\nby hand\n") if existing == "append" else ("exists", "Red.\nby hand\n")
    assert (outcome, text.read_text()) == expected
    text.unlink()
    assert batches.edit(batch, record.id, "anew") == "written" and text.read_text() == "anew\n"
    with pytest.raises(StoreError, match="has no record"):
        batches.edit(batch, "nobody", "x")


def test_a_damaged_description_is_reported_and_others_are_listed(batches: Batches, folder: Path) -> None:
    draw(folder, 1)
    batch = batches.begin(toy(folder, sampling=ClipSampling(range_seconds=(0.0, 1.0)), sidecars=SidecarOptions()))
    ended(batches, batch)
    for name, content in (("a", "{"), ("b", '{"created": 1}'), ("c", '{"request": {"inputs": 3}}')):
        (batch.folder.parent / name).mkdir()
        (batch.folder.parent / name / "batch.json").write_text(content)
        assert batches.all() == [batch]
        assert batches.problem is not None and f"{name}/batch.json" in str(batches.problem)
        (batch.folder.parent / name / "batch.json").unlink()
    assert batches.find(batch.identity) == batch and batches.problem is None


# Looking through


def record_of(name: str, **more: object) -> Record:
    return Record(id=name, item=name, prompt="p", fingerprint="f", **more)  # type: ignore[arg-type]


def test_a_table_follows_its_file(tmp_path: Path) -> None:
    table = Table(tmp_path / "r.jsonl")
    assert table.rows() == []
    with Results(table.path) as results:
        results.append(
            record_of("b", answer="Red.", stats={"total_seconds": 3.0, "queued_seconds": 2.5, "new_tokens": 2})
        )
        results.append(
            record_of("a", answer="Long", stats={"total_seconds": 2.0, "new_tokens": 9, "stop_reason": "length"})
        )
        assert [row.id for row in table.rows()] == ["b", "a"]
        results.append(record_of("c", error="It failed."))
        rows = table.rows()
        assert [row.seconds for row in rows] == [0.5, 2.0, 0.0]
        results.edit("b", "Redder")  # a new file
        results.edit("b", "Red!!!")  # which may have the number of the old one
        table.forget()
        rows = table.rows()
        assert (rows[0].text, rows[0].is_edited) == ("Red!!!", True)
        assert table.record(rows[0]).answer == "Red." and table.record(rows[2]).error == "It failed."
        results.forget(set(results._known))
        assert table.rows() == []
    with table.path.open("ab") as file:
        file.write((record_of("d").as_line() + "\n" + record_of("e").as_line()).encode())
        file.flush()
        assert [row.id for row in table.rows()] == ["d"], "a line that is being written is not read"
    with pytest.raises(StoreError, match="asked again or edited meanwhile"):
        table.record(rows[0])

    def names(**view: str) -> list[str]:
        return [row.id for row in pick(rows, **view)]  # type: ignore[arg-type]

    assert names() == ["b", "a", "c"] and names(sort="finished last") == ["c", "a", "b"]
    assert names(sort="name") == ["a", "b", "c"] and names(sort="slowest") == ["a", "b", "c"]
    assert names(sort="longest") == ["a", "b", "c"]
    assert (names(only="failed"), names(only="edited"), names(only="cut off")) == (["c"], ["b"], ["a"])
    assert names(words=" RED ") == ["b"] and names(words="it failed") == ["c"] and names(words="x") == []


def test_what_the_model_was_given_is_made_again(
    workspace: Workspace, folder: Path, tmp_path: Path, write_clip: Writer
) -> None:
    drawn("red").save(folder / "red!.png")
    write_clip().rename(folder / "clip.mp4")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/blue!.png", encoded(drawn("blue", "rectangle")))
    settings = GenerationSettings(max_new_tokens=8, system_prompt="Be brief.")
    request = Request(
        inputs=(str(folder), str(tmp_path / "a.zip")),
        prompt="What color is it?",
        entry="smolvlm-shapes",
        precision="bfloat16",
        settings=settings,
        sampling=ClipSampling(frames=3),
    )
    batch = workspace.batches.begin(request)
    assert ended(workspace.batches, batch) == (3, 0, 0)
    records = {record.item.rsplit("/", 1)[-1]: record for record in read_records(batch.results)}
    for name, count in (("red!.png", 1), ("blue!.png", 1), ("clip.mp4", 3)):
        given = recall(records[name], 64)
        assert len(given.pictures) == count and not given.changed and max(given.pictures[0][1].size) <= 64
        assert given.prompt.startswith("<|im_start|>System: Be brief.") and given.prompt.count("<image>") == count
    times = [mark for mark, _ in recall(records["clip.mp4"], 64).pictures]
    assert times == [frame["timestamp_seconds"] for frame in records["clip.mp4"].frames]
    drawn("green").save(folder / "red!.png")
    assert recall(records["red!.png"], 64).changed
    (folder / "red!.png").unlink()
    with pytest.raises(MediaError, match="is not there any more"):
        recall(records["red!.png"], 64)


# Uploads and exports


def test_uploads_have_a_name_and_can_be_deleted(batches: Batches, slow: None) -> None:
    uploads = batches.uploads
    red, blue = encoded(drawn("red")), encoded(drawn("blue"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("green.png", encoded(drawn("green")))
    names = [("cat.png", red), ("cat.png", blue), ("cat.png", red), ("../../cat.png", blue), (".hidden.png", red)]
    stored = [uploads.add("my pets", io.BytesIO(data), name).name for name, data in names]
    assert stored == ["cat.png", "cat (2).png", "cat.png", "cat (2).png", "hidden.png"]
    uploads.add("my pets", archive, "more.zip")
    assert uploads.names() == ["my pets"] and len(uploads.files("my pets")) == 4
    assert uploads.size_bytes("my pets") == len(red) * 2 + len(blue) + len(archive.getvalue())
    request = replace(toy(Path()), inputs=(uploads.input("my pets"),))
    found = [item.name.removeprefix(str(uploads.folder)) for item in expand(request.inputs, "p")]
    assert found == [f"/my pets/{name}" for name in ("cat (2).png", "cat.png", "hidden.png", "more.zip!green.png")]
    assert request.name == "my pets"
    batch = batches.begin(request)
    with pytest.raises(LensError, match="is running and needs these files"):
        batches.delete_uploads("my pets")
    Slow.go.set()
    assert ended(batches, batch) == (4, 0, 0)
    batches.delete_uploads("my pets")
    assert uploads.names() == [] and len(by_name(batch)) == 4, "answers stay"


@pytest.mark.parametrize("name", ["", " a", "..", ".a", "a/b", "a\\b", "a[1]", "x" * 81, "a\0"])
def test_folders_of_uploads_are_named_within_their_folder(name: str, tmp_path: Path) -> None:
    for use in (Uploads(tmp_path).path, Uploads(tmp_path).input, Uploads(tmp_path).delete):
        with pytest.raises(LensError, match="not a name for a folder"):
            use(name)


def test_the_answers_as_a_zip_of_text_files(tmp_path: Path) -> None:
    items = ["/p/a/cat.jpg", "/p/a/cat.png", "/p/a/cat.png", "/p/b.zip!x/dog.png", "/p/b.zip!../../up.png", "/p/no.png"]
    records = [record_of(item, answer=f" {n} ") for n, item in enumerate(items)]
    records[0] = replace(records[0], edited="edited")
    records[5] = replace(records[5], error="It failed.", answer="")
    options = SidecarOptions(suffix=".caption", before="<", after=">")
    assert zip_sidecars(records, tmp_path / "out.zip", options) == 5
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            "a/cat.caption": "<edited>\n",
            "a/cat.png.caption": "<1>\n",
            "a/cat.png-2.caption": "<2>\n",
            "b.zip/x/dog.caption": "<3>\n",
            "b.zip/up.caption": "<4>\n",
        }
    assert zip_sidecars(records[3:4], tmp_path / "one.zip") == 1
    assert zipfile.ZipFile(tmp_path / "one.zip").namelist() == ["dog.txt"]
    assert zip_sidecars([], tmp_path / "none.zip") == 0


def test_a_table_for_spreadsheets_has_no_formula(tmp_path: Path) -> None:
    records = [record_of("-a.png", answer='=HYPERLINK("http://e")'), record_of("b.png", answer="-5")]
    export_csv(records, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["item"], row["text"]) for row in rows] == [("'-a.png", '\'=HYPERLINK("http://e")'), ("b.png", "-5")]


def test_inputs_that_are_uploads_are_told_from_paths(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "[a]*" / "uploads")
    assert uploads.is_input(uploads.input("mine"))
    for path in ("/etc/*", str(tmp_path), f"{uploads.input('mine')}/../../x", f"{tmp_path}/[a]*/uploads/mine/*", "*"):
        assert not uploads.is_input(path), path

"""The data folder under damage, full disks, deletions and crashes: nothing is lost, and everything is said in words."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from smolvlm_core import fields as fields_module
from smolvlm_core import files, housekeeping, owners
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.registry import Registry
from smolvlm_core.backends.remote.server_entry import ServerEntry
from smolvlm_core.backends.transformers import CheckpointEntry, TransformersBackend
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.results import Results
from smolvlm_core.check.run import Verdict
from smolvlm_core.check.verdicts import Verdicts
from smolvlm_core.compare.votes import Votes
from smolvlm_core.conversations import schema
from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.conversations.search import MAX_SEARCH_CHARACTERS
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import DeletedError, ModelError, StoreError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.models import catalog
from smolvlm_core.paths import BUNDLED_CHECKPOINT
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, Message, active_turns
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace
from tests.conftest import Wrapper, drawn, encoded
from ui import state

ROOT = Path(__file__).resolve().parent.parent
STORES = sorted((ROOT / "tests" / "stores").glob("*.sql"))
DATABASE = "conversations.sqlite3"


@pytest.fixture(autouse=True)
def same_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest leaves the page behind as `__main__`, which processes that are spawned later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@contextlib.contextmanager
def full_disk(room_bytes: int = 0) -> Iterator[None]:
    """No file of this process can grow past a size, as on a full disk: the system refuses the rest of each write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def temporary_files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if files.TEMPORARY in path.name or "tmp" in path.name]


def answered(store: Store, text: str = "What?", conversation: str | None = None) -> str:
    conversation = conversation or store.create("image")
    answer = store.begin_answer(store.add_question(conversation, text), "model", GenerationSettings(seed=1))
    store.save_answer(answer, "A circle.", "complete", stats=Stats("end"))
    return conversation


def in_database(folder: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db, db:
        db.execute(statement, values)


# Reading


@pytest.mark.parametrize("dump", STORES, ids=lambda path: path.stem)
def test_a_store_of_every_earlier_version_opens(dump: Path, tmp_path: Path) -> None:
    """The dumps were written by the app's code of that time. The last answer was being written when the app ended."""
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.executescript(dump.read_text("utf-8"))
    store = Store(tmp_path)
    (info,) = store.conversations("video")
    (question, answer), (second, half) = active_turns(store.messages(info.id))
    assert (question.text, second.text, info.title) == ("What moves?", "And now?", "What moves?")
    assert question.attachments[0].frames[0].timestamp_seconds == 0.5 and question.attachments[0].notes
    assert answer is not None and (answer.text, answer.status, answer.revision) == ("A circle.", "complete", "abc")
    assert answer.settings == GenerationSettings(seed=7) and answer.stats == Stats("end")
    assert half is not None and (half.text, half.status) == ("It is half", "interrupted")
    answered(store, "Still works?", info.id)
    assert [m.text for m in Store(tmp_path).messages(info.id)][-2:] == ["Still works?", "A circle."]
    assert store.problems() == ()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA.version,)


def test_there_is_a_dump_of_every_version() -> None:
    numbers = {int(dump.read_text("utf-8").split(";")[0].split("=")[1]) for dump in STORES}
    assert numbers == set(range(schema.SCHEMA.version + 1)), "add a dump of the newest version to tests/stores"


DAMAGE = {
    "text": (b"A \xff circle", "A \ufffd circle", "complete", ""),
    "status": ("unheard of", "A circle.", "interrupted", "status"),
    "created": ("yesterday", "A circle.", "complete", "created"),
    "settings": ('{"temperature": 0.0, "of_a_later_version": 1}', "A circle.", "complete", "of_a_later_version"),
    "stats": ("[" * 100_000, "A circle.", "complete", "figures"),
    "role": ("narrator", None, None, "not shown"),
}


@pytest.mark.parametrize("column", DAMAGE)
def test_a_damaged_row_is_reported_and_hides_nothing_else(store: Store, column: str) -> None:
    value, text, status, report = DAMAGE[column]
    conversation = answered(store)
    answered(store, "And then?", conversation)
    in_database(store.folder, f"UPDATE messages SET {column} = ? WHERE id = 2", value)
    shown = {message.id: message for message in store.messages(conversation)}
    assert {1, 3, 4} <= shown.keys() and shown[4].text == "A circle."
    assert (shown[2].text, shown[2].status) == (text, status) if text is not None else 2 not in shown
    assert bool(store.problems()) == bool(report) and report in " ".join(store.problems())
    assert all("Message 2" in problem for problem in store.problems())


def test_a_conversation_with_a_damaged_time_is_listed(store: Store) -> None:
    conversation = answered(store)
    in_database(store.folder, "UPDATE conversations SET created = 1e300, updated = 'x'")
    (info,) = store.conversations()
    assert (info.id, info.created, info.updated) == (conversation, 0.0, 0.0) and len(store.problems()) == 2


def test_a_damaged_name_of_a_picture_deletes_no_other_file(store: Store) -> None:
    attachment = attach_image(store, encoded(drawn()), "a.png")
    conversation = store.create("image")
    store.add_question(conversation, "x", (attachment,))
    victim = store.folder / "verdicts.json"
    victim.write_text("{}")
    in_database(store.folder, "UPDATE media SET name = '../../verdicts.json'")
    with pytest.raises(StoreError, match="no name of one"):
        store.media.path(attachment.sha256)
    store.delete(conversation)
    assert victim.exists()


def test_a_search_is_bounded(store: Store) -> None:
    answered(store, "x" * MAX_SEARCH_CHARACTERS)
    assert len(store.conversations(search="x" * MAX_SEARCH_CHARACTERS)) == 1
    with pytest.raises(StoreError, match="1,000 are allowed"):
        store.conversations(search="x" * 60_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["image", "end", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CLASSES = (Attachment, Stats, GenerationSettings, Record)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_json_holds_fields_have_their_types(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(CLASSES))
    values = {"sha256": "a", "name": "a", "mime": "m", "width": 1, "height": 1, "kind": "image", "stop_reason": "end"}
    row = {**values, "id": "i", "item": "a", "prompt": "p"}
    names = [field.name for field in fields(kind)]
    row |= data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=4))
    told: list[str] = []
    try:
        read = read_object(kind, row, told.append)
    except FieldError as error:
        assert len(str(error)) < 500
        return
    hints = fields_module._hints(kind)
    for name in names:
        value, hint = getattr(read, name), hints[name]
        json.dumps(value, default=vars, ensure_ascii=False).encode()  # no surrogates
        plain = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if plain[0] in (int, float, bool, str):
            assert isinstance(value, plain) and (not isinstance(value, float) or abs(value) < 1e19), (name, value)


# Files that are replaced, deleted or set aside


def test_a_database_that_is_deleted_while_running_is_begun_again(store: Store) -> None:
    answered(store)
    shutil.rmtree(store.folder)
    conversation = answered(store, "After")
    assert [m.text for m in Store(store.folder).messages(conversation)] == ["After", "A circle."], "written for real"
    assert len(store.conversations()) == 1
    assert any("was deleted while the app ran" in problem for problem in store.problems())
    assert store.media.bytes(store.media.add(b"x", "a.png", "image/png")) == b"x"


def test_a_database_that_is_replaced_while_running_is_read(store: Store, tmp_path: Path) -> None:
    """Threads with a connection to the old file go on with the new one, and the old file's log does not get into it."""
    other = Store(tmp_path / "other")
    kept = answered(other, "From the copy")
    other._database._close_all()
    old = answered(store, "From before")
    turn, done = threading.Barrier(2), []

    def reader() -> None:
        store.messages(old)
        turn.wait()
        turn.wait()
        done.append([info.id for info in store.conversations()])
        done.append(answered(store, "From the thread"))

    thread = threading.Thread(target=reader)
    thread.start()
    turn.wait()
    shutil.move(store.folder / DATABASE, tmp_path / "moved.sqlite3")
    shutil.copy(other.folder / DATABASE, store.folder / DATABASE)
    turn.wait()
    thread.join(60)
    assert done[0] == [kept] and {info.id for info in store.conversations()} == {kept, done[1]}
    assert any("is another file now" in problem for problem in store.problems())
    with contextlib.closing(sqlite3.connect(store.folder / DATABASE)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with contextlib.closing(sqlite3.connect(tmp_path / "moved.sqlite3")) as db:
        assert db.execute("SELECT text FROM messages WHERE role = 'user'").fetchall() == [("From before",)]


def test_what_is_written_while_the_database_is_deleted_does_not_count_as_stored(store: Store) -> None:
    conversation = store.create("image")
    with pytest.raises(StoreError, match="moved or deleted while it was written"), store._database.transaction() as db:
        store._insert_question(db, conversation, "What?", (), None)
        (store.folder / DATABASE).unlink()
    answered(store, "Again")
    assert [info.title for info in Store(store.folder).conversations()] == ["Again"]


def test_an_answer_whose_folder_is_deleted_ends(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    conversation = store.create("image")
    question = store.add_question(conversation, "What?", (attach_image(store, encoded(drawn()), "a.png"),))
    gate = threading.Event()

    class Waits(Wrapper):
        def generate(self, *args: Any) -> Iterator[Any]:
            yield Delta("It is ")
            gate.wait(60)
            yield from self.inner.generate(*args)

    answer = workspace.answers.start(Waits(backend), conversation, question, GenerationSettings())
    next(s for s in answer.follow(0) if s.text)
    shutil.rmtree(store.folder)
    gate.set()
    answer.wait(120)
    last = list(answer.follow(0))[-1]
    assert last.done and last.text.startswith("It is ") and workspace.answers.running(conversation) is None
    with pytest.raises(DeletedError):
        store.save_answer(answer.id, "late", "complete")


def test_a_checkpoint_that_is_deleted_while_running_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(BUNDLED_CHECKPOINT, folder)
    pool, prompt = Pool(), build_prompt([Message("user", "Hello")], lambda _: drawn())

    def ask(backend: Backend) -> str:
        events = backend.generate(prompt, GenerationSettings(max_new_tokens=4), threading.Event())
        return "".join(event.text for event in events if isinstance(event, Delta))

    backend = CheckpointEntry.of(catalog.from_folder(folder)).make(pool)
    try:
        shutil.rmtree(folder)
        with pytest.raises(ModelError, match="is gone"):
            ask(backend)
        shutil.copytree(BUNDLED_CHECKPOINT, folder)
        assert ask(backend)
    finally:
        pool.close()


class Checked:
    """A backend, as far as stored verdicts look at it."""

    verdict_expires = True

    def identity(self) -> str:
        return "backend"


@pytest.mark.parametrize("content", ["{", "[]", '{"backend": 5}', '{"backend": {"verdict": "sees"}}'])
def test_damaged_verdicts_are_reported_and_never_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "verdicts.json").write_text(content)
    verdicts, checked = Verdicts(tmp_path), Checked()
    assert verdicts.last(checked) is None and verdicts.problem is not None  # type: ignore[arg-type]
    verdicts.save(checked, Verdict("sees", 0.9))  # type: ignore[arg-type]
    assert verdicts.last(checked) is not None  # type: ignore[arg-type]
    if not content.startswith("{") or content == "{":
        assert (tmp_path / "verdicts.json.damaged").read_text() == content
        assert "verdicts.json.damaged" in str(verdicts.problem)


def test_a_verdict_of_the_future_is_due(tmp_path: Path) -> None:
    """The clock was set back. Without this, "sees" would hold until the clock has caught up."""
    verdicts, checked = Verdicts(tmp_path), Checked()
    row = {"verdict": "sees", "confidence": 0.9, "when": time.time() + 10_000}
    files.write_json(tmp_path / "verdicts.json", {"backend": row})
    assert verdicts.is_due(checked) and verdicts.last(checked) is None  # type: ignore[arg-type]


def test_a_clock_that_is_set_back_moves_no_conversation(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answered(store)
    owner = owners.this_process()
    monkeypatch.setattr(time, "time", lambda: 1e9)
    began = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: began(self) - 5000)
    second = answered(store)
    assert [info.id for info in store.conversations()] == [second, first]
    assert owners.is_alive(owner), "a running answer of this process is not taken for interrupted"


def test_one_damaged_backend_hides_no_other_and_stays_in_the_file(tmp_path: Path) -> None:
    registry = Registry(tmp_path, Pool())
    server = ServerEntry(key="url:a", title="a", added=True, url="http://127.0.0.1:1/v1")
    registry.add(server)
    (row,) = json.loads((tmp_path / "backends.json").read_text())
    damaged = {**row, "key": "url:b", "title": "b", "url": 5}
    files.write_json(tmp_path / "backends.json", [damaged, 7, row, {"kind": "of_a_later_version"}])
    assert registry.added() == (server,) and "cannot be read" in str(registry.problem)
    registry.add(ServerEntry(key="url:c", title="c", added=True, url="http://127.0.0.1:1/v1"))
    stored = json.loads((tmp_path / "backends.json").read_text())
    assert stored[:4] == [damaged, 7, row, {"kind": "of_a_later_version"}] and len(stored) == 5


def test_a_vote_after_a_half_written_one_is_kept(tmp_path: Path) -> None:
    votes = Votes(tmp_path)
    vote = {"answers": {"a": "x", "b": "\ud83d"}, "preferred": "a"}
    votes.add(vote)
    path = tmp_path / "votes.jsonl"
    path.write_bytes(path.read_bytes() + b'{"answers": {"a"')
    votes.add(vote)
    assert [v["preferred"] for v in votes.all()] == ["a", "a"] and "1 line is no vote" in str(votes.problem)
    with full_disk(path.stat().st_size + 10), pytest.raises(StoreError, match="is not saved"):
        votes.add(vote)
    assert len(votes.all()) == 2 and path.read_bytes().endswith(b"}\n")


# Full disks and crashes


def test_a_full_disk_loses_nothing_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    conversation = answered(store)
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    results = Results(tmp_path / "results.jsonl")
    with full_disk():
        for write in (
            lambda: store.add_question(conversation, "Full?"),
            lambda: store.media.add(b"x" * 5000, "a.png", "image/png"),
            lambda: files.write_json(path, {"new": 1}),
            lambda: results.append(Record(id="i", item="a", prompt="p")),
        ):
            with pytest.raises(StoreError, match="Free some disk space"):
                write()
        assert [m.text for m in store.messages(conversation)] == ["What?", "A circle."]
    assert temporary_files(store.folder) == temporary_files(tmp_path) == [] and files.read_json(path, 0) == {"old": 1}
    store.add_question(conversation, "And now?")
    results.append(Record(id="i", item="a", prompt="p"))
    results.close()
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1
    assert store.messages(conversation)[-1].text == "And now?"


def test_an_answer_on_a_full_disk_waits_in_memory(
    workspace: Workspace, store: Store, backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smolvlm_core.conversations.answering.RETRY_SECONDS", 0.05)
    conversation = store.create("image")
    question = store.add_question(conversation, "What shape is it?", (attach_image(store, encoded(drawn()), "a.png"),))
    full = contextlib.ExitStack()

    class Fills(Wrapper):
        def generate(self, *args: Any) -> Iterator[Any]:
            full.enter_context(full_disk())
            yield from self.inner.generate(*args)

    with full:
        answer = workspace.answers.start(Fills(backend), conversation, question, GenerationSettings())
        waiting = next(s for s in answer.follow(0) if s.progress and "not saved yet" in s.progress.text)
        assert waiting.text == "Circle." and not waiting.done
    answer.wait(60)
    stored = active_turns(store.messages(conversation))[0][1]
    assert stored is not None and (stored.text, stored.status) == ("Circle.", "complete")


def test_halves_of_surrogate_pairs_are_joined_and_lone_ones_replaced(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    class Halves(Wrapper):
        def generate(self, *args: Any) -> Iterator[Any]:
            yield from (Delta("\ud83d"), Delta("\ude00 and \ud800"), Stats("end"))

    conversation = store.create("image")
    question = store.add_question(conversation, "Say \udc00")
    workspace.answers.start(Halves(backend, "odd \ud83d name"), conversation, question, GenerationSettings()).wait(60)
    stored = active_turns(store.messages(conversation))[0][1]
    assert stored is not None and (stored.text, stored.status) == ("😀 and \ufffd", "complete")
    assert stored.model == "odd \ufffd name"


def _write_half(path: str, ready: Any) -> None:
    with files.replacing(Path(path)) as file, files.temporary_folder(Path(path).parent, "media"):
        file.write(b"half")
        ready.set()
        time.sleep(600)


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_write_half, args=(str(tmp_path / "media" / "a.json"), ready))
    process.start()
    try:
        assert ready.wait(60)
        assert files.sweep(tmp_path / "media") == 0 and len(temporary_files(tmp_path)) == 2
    finally:
        process.kill()
        process.join()
    foreign = tmp_path / f".b.json.0000-{process.pid}-t1-aa{files.TEMPORARY}"  # of another machine: may be running
    foreign.write_bytes(b"")
    housekeeping.tidy(tmp_path)
    assert temporary_files(tmp_path) == [foreign.name]
    os.utime(foreign, (0, 0))
    housekeeping.tidy(tmp_path)
    assert temporary_files(tmp_path) == []


# Private files


def test_only_the_user_can_read_the_data_folder(tmp_path: Path, workspace: Workspace, store: Store) -> None:
    before = os.umask(0o022)
    try:
        answered(store)
        attach_image(store, encoded(drawn()), "a.png")
        workspace.comparisons.votes.add({"answers": {"a": "x"}})
        workspace.registry.add(ServerEntry(key="url:a", title="a", added=True, url="http://127.0.0.1:1/v1"))
        workspace.verdicts.save(Checked(), Verdict("sees", 0.9))  # type: ignore[arg-type]
    finally:
        os.umask(before)
    modes = {
        str(p.relative_to(store.folder)): p.stat().st_mode & 0o077 for p in [store.folder, *store.folder.rglob("*")]
    }
    assert {name: mode for name, mode in modes.items() if mode} == {} and len(modes) > 7


def test_a_data_folder_of_an_earlier_version_becomes_private(tmp_path: Path) -> None:
    folder, outside = tmp_path / "data", tmp_path / "outside.json"
    (folder / "media").mkdir(parents=True)
    outside.write_text("{}")
    (folder / "backends.json").write_text("[]")
    (folder / "verdicts.json").symlink_to(outside)
    (folder / "mine.txt").write_text("")
    for path in (folder, folder / "media"):
        path.chmod(0o755)
    Workspace(folder)
    assert [p.stat().st_mode & 0o777 for p in (folder, folder / "media", folder / "backends.json")] == [
        0o700,
        0o700,
        0o600,
    ]
    assert (folder / "mine.txt").stat().st_mode & 0o044 and outside.stat().st_mode & 0o044, "not the app's files"
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    Workspace(shared)
    assert shared.stat().st_mode & 0o7777 == 0o1777, "a folder such as /tmp stays open to all"


# What waits to be sent


@dataclass(eq=False)
class Tab:
    media: frozenset[str]

    def unsent_media(self) -> frozenset[str]:
        return self.media


def test_a_picture_that_waits_in_another_tab_is_not_deleted(store: Store) -> None:
    picture = attach_image(store, encoded(drawn()), "a.png")
    conversation = store.create("image")
    store.add_question(conversation, "x", (picture,))
    tab = Tab(frozenset({picture.sha256}))
    store.unsent.add(tab)
    store.delete(conversation)
    assert store.media.picture(picture.sha256).size == (300, 300)
    del tab
    store.discard({picture.sha256})
    assert not store.media.path(picture.sha256).exists(), "a closed tab keeps nothing"


def test_pending_pictures_of_a_page_are_protected() -> None:
    app = AppTest.from_file(str(ROOT / "pages" / "image_chat.py"), default_timeout=120).run()
    app.file_uploader[0].upload("red.png", encoded(drawn("red")), "image/png").run()
    store = state.workspace().store
    (pending,) = app.session_state["session"].pending
    conversation = store.create("image")
    store.add_question(conversation, "x", (pending,))
    store.delete(conversation)  # as another tab does
    app.run()
    assert not app.exception and store.media.path(pending.sha256).exists()


def test_a_question_that_cannot_be_stored_is_offered_again() -> None:
    app = AppTest.from_file(str(ROOT / "pages" / "image_chat.py"), default_timeout=120).run()
    app.file_uploader[0].upload("red.png", encoded(drawn("red")), "image/png").run()
    with full_disk():
        app.chat_input[0].set_value("What color is the circle?").run()
        assert not app.exception and "Your question is not sent" in app.error[0].value
        assert "What color is the circle?" in [text.value for text in app.text]
        next(b for b in app.button if b.label == "Send again").click().run()
        assert not app.exception and len(app.session_state["session"].unsent) == 1, "it still waits"
    next(b for b in app.button if b.label == "Send again").click().run()
    assert not app.exception and app.session_state["session"].unsent == ()
    store = state.workspace().store
    (info,) = store.conversations("image")
    ((question, answer),) = active_turns(store.messages(info.id))
    assert len(question.attachments) == 1 and answer is not None and answer.text == "Red."


def test_the_app_says_what_it_cannot_read_and_opens_again_once_the_cause_is_gone(own_data_folder: Path) -> None:
    own_data_folder.mkdir()
    database = own_data_folder / DATABASE
    database.write_bytes(b"not a database" * 100)
    app = AppTest.from_file(str(ROOT / "ui" / "router.py"), default_timeout=120).run()
    assert not app.exception and "damaged" in " ".join(error.value for error in app.error)
    database.unlink()
    next(b for b in app.button if b.label == "Try again").click().run()
    assert not app.exception and app.chat_input, "the page opens"
    store = state.workspace().store
    conversation = answered(store)
    in_database(store.folder, "UPDATE messages SET role = 'x' WHERE id = 2")
    store.messages(conversation)
    app.run()
    assert "could not be read" in app.warning[0].value and "Message 2" in app.warning[0].value
    next(b for b in app.button if b.label == "Dismiss").click().run()
    assert not any("could not be read" in warning.value for warning in app.warning)

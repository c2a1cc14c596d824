from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from smolvlm_core import media
from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.conversations import export, rows, schema
from smolvlm_core.conversations.attachments import attach_image, describe_clip, store_frames
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import MediaError, StoreError
from smolvlm_core.files import read_json, write_json
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import active_turns
from smolvlm_core.video import sample_clip
from tests.conftest import Writer, drawn, encoded


def answered(store: Store, conversation: str, question: str, answer: str) -> int:
    question_id = store.add_question(conversation, question)
    answer_id = store.begin_answer(question_id, "model", GenerationSettings(seed=1))
    store.save_answer(answer_id, answer, "complete", stats=Stats("end", new_tokens=3))
    return question_id


def test_messages_survive_a_restart(store: Store) -> None:
    conversation = store.create("image")
    attachment = attach_image(store, encoded(drawn()), "a.png")
    question = store.add_question(conversation, "What?", (attachment,))
    answer = store.begin_answer(question, "model", GenerationSettings(temperature=0.5))
    store.save_answer(answer, "A circle.", "complete", stats=Stats("end", new_tokens=3), revision="abc")
    again = Store(store.folder)
    stored_question, stored_answer = active_turns(again.messages(conversation))[0]
    assert stored_question.attachments == (attachment,) and stored_answer is not None
    assert (
        stored_answer.text,
        stored_answer.model,
        stored_answer.revision,
        stored_answer.settings,
        stored_answer.stats,
    ) == (
        "A circle.",
        "model",
        "abc",
        GenerationSettings(temperature=0.5),
        Stats("end", new_tokens=3),
    )
    assert again.media.picture(attachment.sha256).size == (300, 300)
    assert again.conversations()[0].title == "What?"


def _begin_and_exit(folder: str) -> None:
    store = Store(Path(folder))
    conversation = store.create("image", "crashed")
    answer = store.begin_answer(store.add_question(conversation, "What?"), "model", GenerationSettings())
    store.save_answer(answer, "A large red", "running")


def test_a_crash_during_an_answer_does_not_lose_its_text(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_begin_and_exit, args=(str(tmp_path),))
    process.start()
    process.join()
    store = Store(tmp_path)
    ((_, answer),) = active_turns(store.messages(store.conversations()[0].id))
    assert answer is not None and (answer.text, answer.status) == ("A large red", "interrupted")


def test_the_parts_of_a_growing_answer_are_not_kept_in_memory(store: Store) -> None:
    conversation = store.create("image")
    growing = store.begin_answer(store.add_question(conversation, "A"), "model", GenerationSettings())
    store.messages(conversation)
    before = rows._whole.cache_info().currsize
    for length in range(5):
        store.save_answer(growing, "x" * length, "running")
        assert store.messages(conversation)[1].text == "x" * length
    assert rows._whole.cache_info().currsize == before


def test_two_tabs_do_not_overwrite_each_other(store: Store) -> None:
    conversation = store.create("image")
    other = Store(store.folder)

    def write(target: Store, name: str) -> None:
        for i in range(25):
            answered(target, conversation, f"{name} {i}", "x")

    threads = [threading.Thread(target=write, args=(s, n)) for s, n in ((store, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turns = active_turns(store.messages(conversation))
    assert len(turns) == 50 and all(answer is not None for _, answer in turns)
    assert [q.text for q, _ in turns if q.text.startswith("a")] == [f"a {i}" for i in range(25)]


def test_replaced_questions_and_answers_stay_stored(store: Store) -> None:
    conversation = store.create("image")
    asked = answered(store, conversation, "What?", "first")
    store.save_answer(store.begin_answer(asked, "model", GenerationSettings()), "second", "complete")
    assert [a.text for _, a in active_turns(store.messages(conversation)) if a] == ["second"]
    store.replace_question(asked, "Where?")
    assert [q.text for q, _ in active_turns(store.messages(conversation))] == ["Where?"]
    assert [m.text for m in store.messages(conversation)] == ["What?", "first", "second", "Where?"]


def test_list_search_rename_delete(store: Store) -> None:
    first, second = store.create("image"), store.create("video")
    answered(store, first, "What is 100% red?", "A circle.")
    answered(store, second, "What moves?", "A star.")
    store.create("image")  # empty conversations are not listed
    assert [c.id for c in store.conversations()] == [second, first]
    assert [c.id for c in store.conversations("image")] == [first]
    assert [c.id for c in store.conversations(search="circle")] == [first]
    assert [c.id for c in store.conversations(search="100%")] == [first] and store.conversations(search="0%0") == []
    store.rename(first, "  Mine ")
    assert store.conversations(search="mine")[0].title == "Mine"
    store.delete(first)
    assert store.info(first) is None and store.messages(first) == []
    with pytest.raises(StoreError, match="deleted"):
        store.add_question(first, "still there?")


def test_media_are_stored_once_and_deleted_with_their_last_message(store: Store) -> None:
    data = encoded(drawn())
    one, two = attach_image(store, data, "a.png"), attach_image(store, data, "b.png")
    assert one.sha256 == two.sha256
    files = [p for p in (store.folder / "media").rglob("*") if p.is_file()]
    assert len(files) == 1
    first, second = store.create("image"), store.create("image")
    store.add_question(first, "x", (one,))
    store.add_question(second, "y", (two,))
    store.delete(first)
    assert files[0].exists()
    store.delete(second)
    assert not files[0].exists()


def test_deleting_a_conversation_does_not_delete_unsent_attachments(store: Store) -> None:
    waiting = attach_image(store, encoded(drawn("orange")), "a.png")
    conversation = store.create("image")
    store.add_question(conversation, "x", (attach_image(store, encoded(drawn("blue")), "b.png"),))
    store.delete(conversation)
    assert store.media.picture(waiting.sha256).size == (300, 300)
    old = store.media.path(waiting.sha256)
    os.utime(old, (0, 0))
    Store(store.folder)
    assert not old.exists(), "unsent attachments are deleted after a day"


def test_a_missing_media_file_raises_store_error(store: Store) -> None:
    attachment = attach_image(store, encoded(drawn("green")), "a.png")
    store.media.path(attachment.sha256).unlink()
    with pytest.raises(StoreError, match="missing"):
        store.media.picture(attachment.sha256)


def test_a_broken_upload_leaves_no_file(store: Store) -> None:
    with pytest.raises(MediaError):
        attach_image(store, b"broken", "../../a.png")
    assert not any(p.is_file() for p in (store.folder / "media").rglob("*"))


def test_file_names_cannot_escape_the_media_folder(store: Store) -> None:
    sha256 = store.media.add(b"x", "../../../etc/pass.wd/..", "text/plain")
    assert store.media.path(sha256).resolve().is_relative_to((store.folder / "media").resolve())


def test_exports_contain_text_images_and_frames(store: Store, write_clip: Writer) -> None:
    conversation = store.create("video")
    clip, pngs = describe_clip("v", "clip.mp4", sample_clip(write_clip(), 4), (0.0, 4.0))
    store_frames(store, pngs)
    asked = store.add_question(
        conversation, "What happens?", (clip, replace(attach_image(store, encoded(drawn()), "a.png"), shown=False))
    )
    store.save_answer(
        store.begin_answer(asked, "model", GenerationSettings()),
        "It gets brighter.",
        "complete",
        stats=Stats("end", image_tokens=144),
    )
    info = store.info(conversation)
    assert info is not None
    markdown = export.to_markdown(store, info)
    assert (
        markdown.count("![frame](data:image/png;base64,") == 4
        and "It gets brighter." in markdown
        and "no longer shown" in markdown
    )
    value = json.loads(export.to_json(store, info))
    assert len(value["media"]) == 5 and all(value["media"].values())
    assert [f["timestamp_seconds"] for f in value["messages"][0]["attachments"][0]["frames"]] == [
        f.timestamp_seconds for f in clip.frames
    ]


def test_an_unwritable_data_folder_raises_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="SMOLVLM_LENS_DATA"):
        Store(tmp_path / "file" / "data")


def test_hiding_one_image_does_not_change_the_others(store: Store) -> None:
    conversation = store.create("image")
    one, two = (attach_image(store, encoded(drawn(c)), "a.png") for c in ("red", "blue"))
    asked = store.add_question(conversation, "What?", (one, two))
    store.set_shown(asked, one.sha256, False)
    store.set_shown(asked, two.sha256, False)
    assert [a.shown for a in store.messages(conversation)[0].attachments] == [False, False]


def test_a_read_only_database_raises_store_error(store: Store) -> None:
    conversation = store.create("image")
    store._database._local.mine.db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="cannot be written"):
        store.add_question(conversation, "What?")


def test_a_stored_file_is_not_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question about a clip adds the same frames again."""
    sha256 = store.media.add(b"a frame", "a.png", "image/png")

    def fail(*_: object) -> None:
        raise AssertionError("written again")

    with monkeypatch.context() as patched:
        patched.setattr(store.media, "add_file", fail)
        assert store.media.add(b"a frame", "b.png", "image/png") == sha256
    store.media.path(sha256).unlink()
    assert store.media.add(b"a frame", "a.png", "image/png") == sha256 and store.media.bytes(sha256) == b"a frame"


# The tables of version 0.1.0, created before databases had a version number.
FIRST_SCHEMA = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
    role TEXT NOT NULL, text TEXT NOT NULL, attachments TEXT NOT NULL, reply_to INTEGER, status TEXT NOT NULL,
    active INTEGER NOT NULL DEFAULT 1, model TEXT NOT NULL DEFAULT '', revision TEXT NOT NULL DEFAULT '',
    settings TEXT, stats TEXT, error TEXT NOT NULL DEFAULT '', created REAL NOT NULL, owner TEXT NOT NULL DEFAULT ''
);
CREATE INDEX messages_of ON messages(conversation_id, id);
CREATE TABLE media (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, mime TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO conversations VALUES ('c', 'video', 'Old', 1.0, 2.0);
INSERT INTO messages VALUES (1, 'c', 'user', 'What moves?', '[{"kind": "video", "sha256": "v", "name": "clip.mp4", "mime": "video/mp4",
    "width": 64, "height": 48, "shown": true, "duration_seconds": 4.0, "range_seconds": [0.0, 4.0], "frames":
    [{"timestamp_seconds": 0.5, "frame_index": 5, "sha256": "f"}], "decoder": "PyAV", "strategy": "even", "notes": ["n"]}]',
    NULL, 'complete', 1, '', '', NULL, NULL, '', 1.0, '');
INSERT INTO messages VALUES (2, 'c', 'assistant', 'A circle.', '[]', 1, 'complete', 1, 'm', 'r',
    '{"max_new_tokens": 9, "temperature": 0.5, "of_a_later_version": 1}', '{"stop_reason": "length", "new_tokens": 9}', '', 2.0, '');
INSERT INTO messages VALUES (3, 'c', 'user', 'Still readable', 'not JSON', NULL, 'complete', 1, '', '', NULL, NULL, '', 3.0, '');
INSERT INTO messages VALUES (4, 'c', 'assistant', 'This too', '[{"kind": "image"}]', 3, 'complete', 1, 'm', '', '[]', '{"x": 1}', '', 4.0, '');
"""


def test_a_database_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "conversations.sqlite3") as db:
        db.executescript(FIRST_SCHEMA)
    store = Store(tmp_path)
    (info,) = store.conversations()
    assert (info.id, info.kind, info.title, info.created, info.updated) == ("c", "video", "Old", 1.0, 2.0)
    question, answer, damaged, its_answer = store.messages("c")
    (clip,) = question.attachments
    assert clip.range_seconds == (0.0, 4.0) and clip.frames[0].frame_index == 5 and clip.notes == ("n",)
    assert answer.settings == GenerationSettings(max_new_tokens=9, temperature=0.5)
    assert answer.stats == Stats("length", new_tokens=9)
    assert (damaged.text, damaged.attachments) == ("Still readable", ())
    assert (its_answer.text, its_answer.attachments, its_answer.settings, its_answer.stats) == (
        "This too",
        (),
        None,
        None,
    )
    with sqlite3.connect(tmp_path / "conversations.sqlite3") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA.version,)
    store.add_question("c", "And now?")
    assert [m.text for m in Store(tmp_path).messages("c")][-1] == "And now?"


def test_a_database_of_a_later_version_is_refused_and_not_changed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "conversations.sqlite3") as db:
        db.execute(f"PRAGMA user_version = {schema.SCHEMA.version + 1}")
        db.execute("CREATE TABLE of_a_later_version (x)")
    before = (tmp_path / "conversations.sqlite3").read_bytes()
    with pytest.raises(StoreError, match="Update the app"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["conversations.sqlite3"]
    assert (tmp_path / "conversations.sqlite3").read_bytes() == before


def test_an_attachment_that_cannot_be_read_loses_nothing(store: Store) -> None:
    """Its file stays after a day and a restart, and hiding another picture leaves it in the row."""
    one, two = (attach_image(store, encoded(drawn(color)), "a.png") for color in ("red", "blue"))
    question = store.add_question(store.create("image"), "What?", (one, two))
    with sqlite3.connect(store.folder / "conversations.sqlite3") as db:
        text = db.execute("SELECT attachments FROM messages").fetchone()[0]
        rows = json.loads(text)
        rows[0]["width"] = "a"
        db.execute("UPDATE messages SET attachments = ?", (json.dumps(rows),))
    assert [a.sha256 for a in store.message(question).attachments] == [two.sha256]
    store.set_shown(question, two.sha256, False)
    with sqlite3.connect(store.folder / "conversations.sqlite3") as db:
        rows = json.loads(db.execute("SELECT attachments FROM messages").fetchone()[0])
    assert [(row["sha256"], row["shown"]) for row in rows] == [(one.sha256, True), (two.sha256, False)]
    for attachment in (one, two):
        os.utime(store.media.path(attachment.sha256), (0, 0))
    Store(store.folder)
    assert store.media.path(one.sha256).exists() and store.media.path(two.sha256).exists()


def test_figures_of_a_wrong_type_are_left_out(store: Store) -> None:
    conversation = store.create("image")
    answered(store, conversation, "What?", "A circle.")
    with sqlite3.connect(store.folder / "conversations.sqlite3") as db:
        stats = '{"stop_reason": "end", "queued_seconds": null, "new_tokens": "x", "prompt_tokens": 7}'
        db.execute("UPDATE messages SET stats = ? WHERE role = 'assistant'", (stats,))
    stats = store.messages(conversation)[1].stats
    assert stats == Stats("end", prompt_tokens=7) and stats.summary() == "7 prompt tokens · 0 new"


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).create("image")
    broken = (*schema.MIGRATIONS, ("CREATE TABLE half_done (x)", "NOT SQL"))
    monkeypatch.setattr(schema.SCHEMA, "migrations", broken)
    with pytest.raises(StoreError):
        Store(tmp_path)
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "conversations.sqlite3") as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "half_done" not in tables and db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA.version,)


def test_decoded_pictures_stay_within_their_budget() -> None:
    cache = ByteCache(3 * 100 * 100 * 4, media.decoded_bytes)
    decoded = []

    def picture(number: int, side: int = 100) -> Image.Image:
        return cache.get(number, lambda: (decoded.append(number), Image.new("RGB", (side, side)))[1])

    for number in (0, 1, 2, 0, 3, 0, 1):
        picture(number)
    assert decoded == [0, 1, 2, 3, 1], "the least recently used go first"
    assert picture(9, side=300).width == 300 and cache.held_bytes <= cache.max_bytes, (
        "one that is too large is not kept"
    )


def test_json_files_are_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.json"
    write_json(path, {"a": 1}, private=True)
    assert read_json(path, None) == {"a": 1} and path.stat().st_mode & 0o077 == 0
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert [p.name for p in path.parent.iterdir()] == ["a.json"] and read_json(path, None) == {"a": 1}
    assert read_json(tmp_path / "missing.json", []) == []
    path.write_text("{")
    with pytest.raises(StoreError, match="Repair or remove"):
        read_json(path, None)


@pytest.mark.parametrize("stats", ['{"stop_reason": ["x"]}', '{"stop_reason": "unheard of"}', "[]", "5"])
def test_damaged_figures_do_not_keep_a_conversation_from_opening(store: Store, stats: str) -> None:
    conversation = store.create("image")
    answered(store, conversation, "What?", "A circle.")
    with sqlite3.connect(store.folder / "conversations.sqlite3") as db:
        db.execute("UPDATE messages SET stats = ? WHERE role = 'assistant'", (stats,))
    assert store.messages(conversation)[1].stats is None
    info = store.info(conversation)
    assert info is not None and "A circle." in export.to_markdown(store, info)

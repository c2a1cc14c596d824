"""Files of the data folder, damaged: databases of conversations, their rows, and every JSON file beside them.

Each case is one folder with one damaged file. Everything that the app reads from it is read, and one thing is written.
"""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.robustness.section import Section, mutated
from smolvlm_core.batch.jobs import Batches
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.request import Request
from smolvlm_core.batch.results import Results, export_csv
from smolvlm_core.batch.table import Table
from smolvlm_core.check.run import Verdict
from smolvlm_core.check.verdicts import Verdicts
from smolvlm_core.compare.votes import Votes, tally
from smolvlm_core.conversations import export
from smolvlm_core.conversations.store import Store
from smolvlm_core.engine.decode_choice import Outcomes
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, active_turns, history_before

DATABASE = "conversations.sqlite3"
KEY = "a key of the backend"
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 2**200, 1e308, float("inf"), float("nan"), "", "x", "\ud83d", "../../x", "\0", [], {}, [[]],
    {"a": {}}, ["x"], [None], "9" * 5000, "[" * 5000, b"\xff\xfe", b"",
)  # fmt: skip
BATCH = "batches/one/batch.json"
RESULTS = "batches/one/results.jsonl"
KINDS = (DATABASE, "row", "row", "backends.json", "verdicts.json", "votes.jsonl", "decode.json", BATCH, RESULTS)


@cache
def _database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        sha256 = store.media.add(b"a picture", "a.png", "image/png")
        frame = FrameRef(0.5, 5, sha256)
        more = {"name": "a.png", "mime": "image/png", "width": 64, "height": 48, "sha256": sha256, "notes": ("cut",)}
        pictures = (Attachment(kind="image", **more), Attachment(kind="video", frames=(frame,), **more))
        for number, picture in enumerate(pictures):
            conversation = store.create(picture.kind)
            for text in ("What is it?", "And the color?"):
                question = store.add_question(conversation, f"{text} {number}", (picture,))
                answer = store.begin_answer(question, "model", GenerationSettings(seed=3))
                store.save_answer(answer, "A circle. " * 50, "complete", stats=Stats("end", new_tokens=3))
        store._database._close_all()  # what the log holds is then in the file
        return (Path(folder) / DATABASE).read_bytes()


@cache
def _whole(name: str) -> bytes:
    """A file as the app writes it."""
    record = Record(id="i" * 32, item="/a.png", prompt="What?", answer="A circle.", frames=[{"timestamp_seconds": 0.5}])
    request = Request(inputs=("/pictures/*",), prompt="What?", entry="smolvlm-shapes")
    values: dict[str, Any] = {
        "backends.json": [
            {"kind": "url", "key": "url:http://127.0.0.1:1/v1", "title": "server", "url": "http://127.0.0.1:1/v1"},
            {"kind": "gguf", "key": "gguf", "title": "file", "text": "/no/text.gguf", "projector": "/no/eyes.gguf"},
            {"kind": "ollama", "key": "ollama:m", "title": "m", "model": "m", "context_tokens": 2048},
            {"kind": "transformers", "key": "/no/folder", "title": "folder", "added": True},
        ],
        "verdicts.json": {KEY: {"verdict": "sees", "confidence": 0.9, "when": 1.7e9, "cause": "", "fix": ""}},
        "decode.json": {KEY: {"speedup": 1.5, "problem": ""}},
        BATCH: {"created": 1.7e9, "fingerprint": "f", "request": asdict(request)},
    }
    vote = {"time": 1.7e9, "blind": True, "question": "?", "answers": {"a": "x", "b": "y"}, "preferred": "a"}
    lines = {"votes.jsonl": [json.dumps(vote)] * 3, RESULTS: [record.as_line()] * 3}
    return ("\n".join(lines[name]) + "\n" if name in lines else json.dumps(values[name], indent=1)).encode()


def _odd_value(value: Any, dice: random.Random) -> Any:
    """A copy of a JSON value with one part replaced, removed or added."""
    if isinstance(value, dict | list) and value and dice.random() < 0.85:
        copy = value.copy()
        at = dice.choice(list(copy)) if isinstance(copy, dict) else dice.randrange(len(copy))
        match dice.randrange(8):
            case 0:
                del copy[at]
            case 1 if isinstance(copy, dict):
                copy["of_a_later_version"] = dice.choice(ODD[:-2])
            case _:
                copy[at] = _odd_value(copy[at], dice)
        return copy
    return dice.choice(ODD[:-2])


def _odd_json(data: bytes, dice: random.Random) -> bytes:
    try:
        return json.dumps(_odd_value(json.loads(data), dice)).encode()
    except json.JSONDecodeError:  # JSON Lines
        lines = data.splitlines()
        at = dice.randrange(len(lines))
        lines[at] = json.dumps(_odd_value(json.loads(lines[at]), dice)).encode()
        return b"\n".join(lines) + b"\n"


COLUMNS = {
    "messages": ["id", "conversation_id", "role", "text", "attachments", "reply_to", "status", "active", "model",
                 "revision", "settings", "stats", "error", "created", "owner"],
    "conversations": ["id", "kind", "title", "created", "updated"],
    "media": ["sha256", "name", "mime", "bytes"],
}  # fmt: skip


def _odd_row(dice: random.Random) -> tuple[str, str, Any]:
    """(table, column, value)"""
    table = dice.choice(["messages", "messages", "messages", "conversations", "media"])
    column = dice.choice(COLUMNS[table])
    if column in ("attachments", "settings", "stats") and dice.random() < 0.8:
        whole: Any = {
            "attachments": [asdict(Attachment(kind="video", sha256="0" * 64, name="a", mime="m", width=1, height=1,
                                              range_seconds=(0.0, 1.0), frames=(FrameRef(0.5, 5, "1" * 64),)))],
            "settings": asdict(GenerationSettings()),
            "stats": asdict(Stats("end")),
        }[column]  # fmt: skip
        return table, column, json.dumps(_odd_value(whole, dice))
    value = dice.choice(ODD)
    return table, column, json.dumps(value) if isinstance(value, list | dict) else value


class State(Section):
    name, full_count = "state", 900

    def case(self, number: int, dice: random.Random) -> tuple[str, Any]:
        """(kind of file, its damaged content); of a row: (table, column, value)."""
        kind = KINDS[number % len(KINDS)]
        if kind == "row":
            return kind, _odd_row(dice)
        if kind == DATABASE:
            return kind, mutated(_database(), dice)
        return kind, _odd_json(_whole(kind), dice) if dice.random() < 0.7 else mutated(_whole(kind), dice)

    def start(self, folder: Path) -> None:
        _database()

    def attempt(self, case: tuple[str, Any], folder: Path) -> str:
        kind, content = case
        if kind in (DATABASE, "row"):
            return self._attempt_store(kind, content, folder)
        path = folder / kind
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {
            "backends.json": _use_backends,
            "verdicts.json": _use_verdicts,
            "votes.jsonl": _use_votes,
            "decode.json": _use_outcomes,
            BATCH: _use_batches,
            RESULTS: _use_results,
        }[kind](folder)

    def _attempt_store(self, kind: str, content: Any, folder: Path) -> str:
        path = folder / DATABASE
        path.write_bytes(content if kind == DATABASE else _database())
        if kind == "row" and not changed(path, *content):
            return "refused by SQLite"
        return _use_store(folder)


def changed(path: Path, table: str, column: str, value: Any) -> bool:
    """Whether SQLite takes the value. Rules that a damaged file would not keep are off."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT MIN(rowid) FROM {table})", (value,))
        except (sqlite3.Error, OverflowError, UnicodeError):
            return False
    db.close()
    return True


def _use_store(folder: Path) -> str:
    store = Store(folder)
    try:
        for info in store.conversations() + store.conversations(search="circle"):
            messages = store.messages(info.id)
            for question, answer in active_turns(messages):
                _use_turn(store, messages, question, answer)
            export.to_markdown(store, info)
            export.to_json(store, info)
        conversation = store.create("image")
        question_id = store.add_question(conversation, "still works?")
        store.save_answer(store.begin_answer(question_id, "model", GenerationSettings()), "yes", "complete")
        assert [m.text for m in store.messages(conversation)] == ["still works?", "yes"], "a new question is lost"
        for info in store.conversations():
            store.delete(info.id)
    finally:
        store._database._close_all()
    return "reported" if store.problems() else "used"


def _use_turn(store: Store, messages: list[Any], question: Any, answer: Any) -> None:
    """As a page draws it."""
    assert answer is None or answer.status in ("complete", "running", "stopped", "failed", "interrupted")
    if answer is not None and answer.stats is not None:
        answer.stats.summary()
    for attachment in question.attachments:
        store.set_shown(question.id, attachment.sha256, False)
    build_prompt(history_before(messages, question.id), store.media.picture)


def _use_backends(folder: Path) -> str:
    from smolvlm_core.backends.registry import Registry
    from smolvlm_core.errors import LensError
    from smolvlm_core.work.pool import Pool

    registry, pool = Registry(folder, Pool()), Pool()
    registry._scanned = 1e12  # this machine is not searched
    before = len(registry.entries())
    for entry in registry.added():
        assert all(entry.label_of(precision) for precision in entry.precisions or ("",))
        try:
            entry.make(pool).identity()
        except LensError:
            continue  # its files do not exist
    problem = registry.problem
    registry.add(registry.entries()[0])
    assert len(registry.entries()) >= before, "adding a backend lost others"
    return "reported" if problem is not None else "used"


class _Backend:
    verdict_expires = True

    def identity(self) -> str:
        return KEY


def _use_verdicts(folder: Path) -> str:
    verdicts, backend = Verdicts(folder), _Backend()
    verdicts.last(backend)  # type: ignore[arg-type]
    verdicts.is_due(backend)  # type: ignore[arg-type]
    problem = verdicts.problem
    verdicts.save(backend, Verdict("blind", 1.0))  # type: ignore[arg-type]
    last = verdicts.last(backend)  # type: ignore[arg-type]
    assert last is not None and last.verdict == "blind", "a new verdict is lost"
    return "reported" if problem is not None else "used"


def _use_outcomes(folder: Path) -> str:
    from smolvlm_core.engine.decode_choice import Outcome

    outcomes = Outcomes(folder / "decode.json")
    if (known := outcomes.find(KEY)) is not None:
        known.describe()
    outcomes.keep(KEY, Outcome(2.0))
    assert outcomes.find(KEY) == Outcome(2.0), "a new outcome is lost"
    return "used" if known is not None else "reported"


def _use_votes(folder: Path) -> str:
    votes = Votes(folder)
    before = len(votes.all())
    tally(votes.all())
    problem = votes.problem
    votes.add({"answers": {"a": "x"}, "preferred": "a"})
    assert len(votes.all()) == before + 1, "a new vote is lost"
    return "reported" if problem is not None else "used"


def _use_batches(folder: Path) -> str:
    from smolvlm_core.backends.registry import Registry
    from smolvlm_core.work.job import Jobs
    from smolvlm_core.work.pool import Pool

    batches = Batches(folder, Jobs(), Registry(folder, Pool()))
    for batch in batches.all():
        assert batch.request.title
    return "reported" if batches.problem is not None else "used"


def _use_results(folder: Path) -> str:
    path = folder / RESULTS
    with Results(path) as results:
        results.append(Record(id="new", item="/b.png", prompt="?", answer="yes"))
        records = list(results.records())
        assert records[-1].answer == "yes", "a new record is lost"
        results.edit("new", "no")
    export_csv(records, folder / "table.csv")
    table = Table(path)
    assert len(table.rows()) == len(records)
    return "used"


SECTION = State()

"""What a killed process left: its questions, files and processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil

from benchmarks.kills.children import whole_answer
from benchmarks.kills.prepare import OLD_TURNS
from benchmarks.kills.round import MARK, Round, command
from smolvlm_core.backends.registry import Registry
from smolvlm_core.batch.results import read_records
from smolvlm_core.compare.votes import Votes
from smolvlm_core.errors import LensError
from smolvlm_core.files import sweep
from smolvlm_core.llamacpp.gguf import read_gguf
from smolvlm_core.media import sha256_of
from smolvlm_core.paths import PROJECT
from smolvlm_core.prompt.messages import active_turns
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace

ORPHAN_SECONDS = 5.0


def _left(one: Round) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == one.mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def check_processes(one: Round) -> None:
    ends = time.monotonic() + ORPHAN_SECONDS
    while (left := _left(one)) and time.monotonic() < ends:
        time.sleep(0.1)
    for process in left:
        with contextlib.suppress(psutil.Error):
            one.wrong.append(f"left running: {' '.join(process.cmdline())[:200]}")
            process.kill()


def check_files(one: Round) -> None:
    database = one.data / "conversations.sqlite3"
    if database.exists():
        _check_database(one, database)
        _check_messages(one)
    if one.kind == "settings":
        keys = {entry.key for entry in Registry(one.data, Pool()).added()}
        one.expect(set(one.all("backend")) <= keys, "an added backend is lost")
        one.expect(len(Votes(one.data).all()) >= max(one.all("votes"), default=0), "a vote is lost")
    if one.kind == "conversion":
        for path in one.out.glob("*.gguf"):
            one.said.append({"converted": path.name})
            try:
                read_gguf(path)
            except LensError as error:
                one.wrong.append(f"half a file has a final name: {error}")
        with contextlib.suppress(LensError):
            sweep(one.out, "convert")  # as the next conversion does
    if one.kind == "batch":
        _check_batch(one)
    if one.kind == "timeline":
        _check_database(one, one.data / "timelines.sqlite3")
        _check_timeline(one)


def _check_database(one: Round, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=1)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            found = db.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.Error as error:
            found = str(error)
    one.expect(found == "ok", f"the database: {found}")


def _check_messages(one: Round) -> None:
    store = Workspace(one.data).store
    answers = {}
    for info in store.conversations():
        for question, answer in active_turns(store.messages(info.id)):
            answers[question.text] = answer
            for attachment in question.attachments:
                whole = sha256_of(store.media.bytes(attachment.sha256)) == attachment.sha256
                one.expect(whole, f"the picture of {question.text!r} is damaged")
    for text in one.all("question"):
        one.expect(text in answers, f"the question {text!r} is lost")
    for text in (line["answered"] for line in one.said if line.get("complete", True) and "answered" in line):
        answer = answers.get(text)
        one.expect(answer is not None and answer.status == "complete", f"the answer to {text!r} is lost")
    for text, answer in answers.items():
        if answer is None:
            continue
        one.expect(answer.status != "running", f"the answer to {text!r} is running for ever")
        if one.kind == "chat":
            whole = answer.text == whole_answer()
            one.expect(whole or answer.status != "complete", f"half an answer to {text!r} passes for whole")
            one.expect(whole_answer().startswith(answer.text), f"the answer to {text!r} is mixed up")
        if answer.status == "complete":
            one.expect(answer.stats is not None, f"the answer to {text!r} is complete without figures")
    for sha256 in one.all("stored"):
        one.expect(sha256_of(store.media.bytes(sha256)) == sha256, "an uploaded file is lost or damaged")
    if one.kind == "migration":
        one.expect(len(answers) == OLD_TURNS, f"{len(answers)} of {OLD_TURNS} questions after the migration")
    one.expect(not store.problems(), f"cannot be read: {store.problems()[:2]}")
    store._database._close_all()


def _check_batch(one: Round) -> None:
    """What was finished is there once, and the next run goes on."""
    path = one.out / "results.jsonl"
    before = {record.id for record in read_records(path)}
    _run_again(one)
    after = [record.id for record in read_records(path)]
    one.expect(before <= set(after) and len(after) == len(set(after)), "a record is lost or there twice")
    one.said += [{"record": record} for record in after]


def _run_again(one: Round) -> None:
    environment = {**os.environ, "SMOLVLM_LENS_DATA": str(one.data), "HF_HUB_OFFLINE": "1", MARK: one.mark}
    done = subprocess.run(command(one), cwd=PROJECT, env=environment, capture_output=True, text=True)
    one.expect(done.returncode == 0, f"the next run failed: {done.stderr[-300:]}")


def _check_timeline(one: Round) -> None:
    """What was said stays word for word, and the next run asks the rest."""
    timelines = Workspace(one.data).timelines
    one.expect(len(timelines.all()) == 1, "the timeline is lost")
    before = {s.identity: s.answers for timeline in timelines.all() for s in timelines.segments(timeline.identity)}
    answered = {identity: answers for identity, answers in before.items() if answers}
    one.expect(bool(answered), "no caption is kept although one was printed")
    _run_again(one)
    for timeline in timelines.all():
        after = {s.identity: s.answers for s in timelines.segments(timeline.identity)}
        kept = all(after[identity] == answers for identity, answers in answered.items())
        one.expect(kept and after.keys() == before.keys(), "a segment or an answer has changed")
        one.expect(timelines.is_complete(timeline), "the next run did not go on to the end")
        one.said += [{"segment": identity} for identity in after]


def check_temporary(one: Round) -> None:
    if one.kind == "api":
        sweep(one.folder / "tmp", "smolvlm-lens")  # as the next server does
    signs = (".lens-tmp", "partial-", ".convert-", ".tmp")
    for folder in (one.data, one.out, one.folder / "tmp"):
        names = [
            str(p.relative_to(folder))
            for p in folder.rglob("*")
            if p.name.startswith("tmp") or any(s in p.name for s in signs)
        ]
        one.expect(not names, f"temporary files are left: {names[:3]}")

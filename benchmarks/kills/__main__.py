"""Kills processes at random moments, starts again, and looks at what is left.

    python -m benchmarks.kills                         (100 rounds)
    python -m benchmarks.kills --rounds 20 --seed 3
    python -m benchmarks.kills --kinds chat,api --rounds 10

Each round starts one process, kills it (kill -9) up to some seconds after it is ready, and starts again. Kinds: `app` (the real
Streamlit server, asked over its WebSocket), `chat` (four tabs that add pictures, ask and follow answers), `upload`, `migration` (of a
store of an earlier version), `settings` (backends, votes), `clips` (decoders in processes of their own; half of the rounds kill a
decoder), `llama-server` (half of the rounds kill the server), `conversion`, `api` and `batch`.

Checked after each: every question and picture that was shown is there, no half answer passes for a whole one, files are whole, no
process is left after 5 s, the database is neither locked nor damaged, and no temporary file is left once the app has started again.
The exit status is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.kills import app
from benchmarks.kills.children import whole_answer
from smolvlm_core.backends.registry import Registry
from smolvlm_core.batch.results import read_records
from smolvlm_core.compare.votes import Votes
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import LensError
from smolvlm_core.files import sweep
from smolvlm_core.llamacpp.gguf import read_gguf
from smolvlm_core.media import sha256_of
from smolvlm_core.paths import BUNDLED_CHECKPOINT, GALLERY, PROJECT
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import active_turns
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace

MARK = "KILLS_ROUND"  # in the environment of a round's processes: which of them are left
ORPHAN_SECONDS = 5.0
READY_SECONDS = 180.0
LONGEST_SECONDS = {"chat": 3.0, "upload": 1.5, "migration": 0.4, "settings": 1.0, "clips": 2.0, "llama-server": 2.0}
LONGEST_SECONDS |= {"conversion": 10.0, "api": 3.0, "batch": 1.5, "app": 5.0}
CHILDREN = ("chat", "upload", "migration", "settings", "clips", "llama-server")
# Those that load a model take most of the time, so they come less often.
ORDER = (
    "chat", "upload", "app", "settings", "migration", "clips", "chat", "batch", "settings", "llama-server",
    "chat", "migration", "upload", "api", "settings", "clips", "chat", "conversion", "migration", "upload",
)  # fmt: skip


@dataclass
class Round:
    """`said`: what the process said. `wrong`: what is wrong, in words."""

    kind: str
    folder: Path
    mark: str
    said: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def expect(self, fine: bool, problem: str) -> None:
        if not fine:
            self.wrong.append(problem)

    def all(self, name: str) -> list[Any]:
        return [line[name] for line in self.said if name in line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", help=f"of {', '.join(LONGEST_SECONDS)}; all by default, the quick ones more often")
    options = parser.parse_args()
    kinds = tuple(options.kinds.split(",")) if options.kinds else ORDER
    if unknown := set(kinds) - LONGEST_SECONDS.keys():
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        return _rounds(options.rounds, options.seed, kinds, Path(folder))


def _rounds(count: int, seed: int, kinds: tuple[str, ...], folder: Path) -> int:
    rounds, questions, wrong, began = Counter[str](), 0, 0, time.perf_counter()
    ggufs = _converted(folder) if "llama-server" in kinds[:count] else folder
    for number in range(count):
        kind, dice = kinds[number % len(kinds)], random.Random(f"kills {seed} {number}")
        one = Round(kind, folder / str(number), uuid.uuid4().hex)
        started = time.perf_counter()
        try:
            _run(one, dice, ggufs)
        except Exception as error:
            one.wrong.append(f"the round failed: {error!r}")
        rounds[kind] += 1
        questions += len(one.all("question"))
        wrong += len(one.wrong)
        seconds = time.perf_counter() - started
        print(
            f"{number} {kind}: {len(one.said)} things done, {seconds:.1f} s{''.join(f'; WRONG: {w}' for w in one.wrong)}"
        )
        sys.stdout.flush()
        shutil.rmtree(one.folder, ignore_errors=True)
    total = {"rounds": count, "kinds": dict(rounds), "questions kept": questions, "wrong": wrong, "seed": seed}
    print(json.dumps(total | {"seconds": round(time.perf_counter() - began)}))
    return int(wrong > 0)


def _run(one: Round, dice: random.Random, ggufs: Path) -> None:
    one.data.mkdir(parents=True)
    one.out.mkdir()
    temporary = one.folder / "tmp"
    temporary.mkdir()
    if one.kind == "migration":
        _write_old_store(one.data)
    if one.kind == "batch":
        for number in range(3):
            shutil.copytree(GALLERY, one.out / "pictures" / str(number), ignore=shutil.ignore_patterns("*.mp4"))
    environment = {
        **os.environ, MARK: one.mark, "SMOLVLM_LENS_DATA": str(one.data), "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary),
        "KILLS_GGUFS": str(ggufs), "SMOLVLM_LENS_CHECK": "off", "PYTHONPATH": str(PROJECT),
    }  # fmt: skip
    process = subprocess.Popen(
        _command(one), cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        _use(one, process, dice)
    finally:
        _end(process)
    _check_processes(one)
    _check_files(one)
    with contextlib.suppress(LensError):
        Workspace(one.data).store._database._close_all()  # the app starts again
    _check_temporary(one)


def _command(one: Round) -> list[str]:
    python = [sys.executable, "-m"]
    if one.kind in CHILDREN:
        return [*python, "benchmarks.kills.children", one.kind, str(one.data)]
    core = [*python, "smolvlm_core"]
    if one.kind == "conversion":
        return [*core, "convert", str(BUNDLED_CHECKPOINT), "--out", str(one.out), "--quantize", "Q8_0", "--no-check"]
    if one.kind == "api":
        return [*core, "serve", "--model", "smolvlm-shapes", "--no-check", "--port", str(_port_of(one))]
    if one.kind == "batch":
        results = str(one.out / "results.jsonl")
        return [*core, "batch", str(one.out / "pictures"), "--prompt", "What is it?", "--out", results]
    return [*python, "streamlit", "run", "app.py", "--server.port", str(_port_of(one)), "--server.headless", "true"]


def _port_of(one: Round) -> int:
    return 20_000 + int(one.mark[:6], 16) % 20_000


def _use(one: Round, process: subprocess.Popen[bytes], dice: random.Random) -> None:
    """Until the moment of the kill."""
    lines: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    stop = threading.Event()
    user = _user(one, stop)
    if one.kind in CHILDREN:
        first = json.loads(lines.get(timeout=READY_SECONDS) or b"{}")
        one.expect("ready" in first, "it did not start")
        one.said.append(first)
    elif one.kind == "api":
        first_line = lines.get(timeout=READY_SECONDS)
        one.expect(first_line.startswith(b"http"), "it did not start")
    elif one.kind == "app":
        app.wait_until_ready(_port_of(one), READY_SECONDS)
    elif one.kind == "batch":
        _wait_for(lambda: (one.out / "results.jsonl").exists() and (one.out / "results.jsonl").stat().st_size > 0)
    if user is not None:
        user.start()
        if dice.random() < 0.7:  # else it is killed while it loads
            _wait_for(lambda: one.said or not user.is_alive())
    time.sleep(dice.uniform(0, LONGEST_SECONDS[one.kind]))
    helpers = [child for child in psutil.Process(process.pid).children(recursive=True) if _is_helper(one, child)]
    if helpers and dice.random() < 0.5:
        helpers[-1].kill()  # a decoder or llama-server: the process goes on, and is killed later
        time.sleep(dice.uniform(0.2, 1.5))
    process.kill()
    process.wait()
    stop.set()
    reader.join(10)
    if user is not None:
        user.join(30)
    with contextlib.suppress(queue.Empty):
        while True:
            line = lines.get_nowait()
            if line.startswith(b"{"):
                one.said.append(json.loads(line))


def _user(one: Round, stop: threading.Event) -> threading.Thread | None:
    """Who asks a server."""
    if one.kind == "app":
        return threading.Thread(target=app.ask, args=(_port_of(one), one.said, stop), daemon=True)
    if one.kind == "api":
        return threading.Thread(target=_ask_api, args=(one, stop), daemon=True)
    return None


def _ask_api(one: Round, stop: threading.Event) -> None:
    url = f"http://127.0.0.1:{_port_of(one)}/v1/chat/completions"
    picture = next(iter(sorted(GALLERY.glob("*.png"))))
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(
            url.replace("chat/completions", "files"), files={"file": picture.open("rb")}, data={"purpose": "vision"}
        )
    question = {
        "messages": [{"role": "user", "content": "What color is it?"}],
        "stream": True,
        "model": "smolvlm-shapes",
    }
    while not stop.is_set():
        with contextlib.suppress(httpx.HTTPError):
            with httpx.stream("POST", url, json=question, timeout=20) as answer:
                text = "".join(answer.iter_text())
            one.said.append({"asked": True, "complete": "[DONE]" in text})
            one.expect("[DONE]" in text or '"error"' in text, "a cut answer ended as if it were whole")


def _is_helper(one: Round, child: psutil.Process) -> bool:
    signs = {"clips": "isolated", "llama-server": "llama-server"}
    with contextlib.suppress(psutil.Error):
        line = " ".join(child.cmdline())
        return one.kind in signs and signs[one.kind] in line and "keeper.py" not in line
    return False


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith(b"\n"):
            lines.put(line)
    lines.put(b"")


def _wait_for(condition: Any) -> None:
    ends = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError("it did not start")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()
    process.wait()


# Looking at what is left


def _left(one: Round) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == one.mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _check_processes(one: Round) -> None:
    ends = time.monotonic() + ORPHAN_SECONDS
    while (left := _left(one)) and time.monotonic() < ends:
        time.sleep(0.1)
    for process in left:
        with contextlib.suppress(psutil.Error):
            one.wrong.append(f"left running: {' '.join(process.cmdline())[:200]}")
            process.kill()


def _check_files(one: Round) -> None:
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
    environment = {**os.environ, "SMOLVLM_LENS_DATA": str(one.data), "HF_HUB_OFFLINE": "1", MARK: one.mark}
    done = subprocess.run(_command(one), cwd=PROJECT, env=environment, capture_output=True, text=True)
    one.expect(done.returncode == 0, f"the next run failed: {done.stderr[-300:]}")
    after = [record.id for record in read_records(path)]
    one.expect(before <= set(after) and len(after) == len(set(after)), "a record is lost or there twice")
    one.said += [{"record": record} for record in after]


def _check_temporary(one: Round) -> None:
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


# What rounds need


OLD_TURNS = 400


def _write_old_store(folder: Path) -> None:
    """A store as version 0.1.0 wrote it, with many messages."""
    store = Store(folder)
    for number in range(OLD_TURNS // 20):
        conversation = store.create("image")
        for turn in range(20):
            question = store.add_question(conversation, f"question {number} {turn}")
            store.save_answer(store.begin_answer(question, "m", GenerationSettings()), "x" * 500, "complete")
    store._database._close_all()
    with contextlib.closing(sqlite3.connect(folder / "conversations.sqlite3", isolation_level=None)) as db:
        for (index,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall():
            if index != "messages_of":
                db.execute(f"DROP INDEX {index}")
        db.execute("ALTER TABLE messages DROP COLUMN parent")
        first = {"id", "kind", "title", "created", "updated"}
        for _, column, *_ in db.execute("PRAGMA table_info(conversations)").fetchall():
            if column not in first:
                db.execute(f"ALTER TABLE conversations DROP COLUMN {column}")
        db.execute("UPDATE messages SET stats = '{\"stop_reason\": \"end\"}' WHERE role = 'assistant'")
        db.execute("PRAGMA user_version = 0")


def _converted(folder: Path) -> Path:
    """The bundled model as GGUF files."""
    out = folder / "ggufs"
    command = [
        sys.executable,
        "-m",
        "smolvlm_core",
        "convert",
        str(BUNDLED_CHECKPOINT),
        "--out",
        str(out),
        "--no-check",
    ]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return out


if __name__ == "__main__":
    sys.exit(main())

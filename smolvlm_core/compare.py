"""The same prompts to several backends, side by side: answers as they come, figures, votes.

Backends on one device answer in turn, so that none is measured against another; those on different devices at the same
time. Knows backends by their contract. Does not know who watches.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import random
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from smolvlm_core.backends.base import Backend, Delta, GenerationSettings, Progress, Stats
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.chat import Message
from smolvlm_core.errors import LensError
from smolvlm_core.paths import data_folder
from smolvlm_core.prompt import Prompt, build_prompt

logger = logging.getLogger(__name__)
MOST_COLUMNS = 4
State = Literal["waiting", "loading", "answering", "done", "failed", "stopped"]


@dataclass
class Reply:
    """One backend's answer to one question."""

    text: str = ""
    stats: Stats | None = None
    error: str = ""


@dataclass
class Column:
    """One backend. `cold_seconds`: its first word on an empty prompt where it had to be loaded first, None where it was
    there already; `warm_seconds`: the same once loaded."""

    name: str
    backend: Backend
    device: str
    replies: list[Reply]
    state: State = "waiting"
    progress: str = ""
    cold_seconds: float | None = None
    warm_seconds: float | None = None
    revision: str = ""
    files: dict[str, str] = field(default_factory=dict)
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> bool:
        return self.state in ("done", "failed", "stopped")


class Comparison:
    """Started at once; `stop` and the columns may be used from any thread.

    Raises:
        LensError: fewer than two or more than four backends, two of them the same, or nothing asked.
    """

    def __init__(
        self, backends: Sequence[tuple[str, Backend]], asked: Sequence[tuple[str, Prompt]], settings: GenerationSettings
    ) -> None:
        if not 2 <= len(backends) <= MOST_COLUMNS:
            raise LensError(f"{len(backends)} backends chosen.", f"Choose two to {MOST_COLUMNS}.")
        if len({name for name, _ in backends}) < len(backends):
            raise LensError("Two backends have the same name.", "Choose different ones.")
        if not asked:
            raise LensError("Nothing is asked.", "Write a question, or several, one a line.")
        self.questions = [question for question, _ in asked]
        self.prompts = [prompt for _, prompt in asked]
        self.settings = settings
        self.begun = time.time()
        self.columns = [Column(name, b, device_of(b), [Reply() for _ in asked]) for name, b in backends]
        self.order = random.sample(range(len(self.columns)), len(self.columns))  # for who must not know the names
        self.voted: dict[int, str] = {}
        self._threads = [
            threading.Thread(target=self._work, args=(mine,), daemon=True) for mine in _by_device(self.columns)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        return all(column.done for column in self.columns)

    @property
    def all_voted(self) -> bool:
        """Every question that anyone answered has a vote."""
        answered = {n for n in range(len(self.questions)) if any(c.replies[n].text for c in self.columns)}
        return self.done and answered <= set(self.voted)

    def wait(self, timeout_seconds: float | None = None) -> None:
        for thread in self._threads:
            thread.join(timeout_seconds)

    def stop(self, column: Column | None = None) -> None:
        """One column, or all. What was said is kept."""
        for each in [column] if column else self.columns:
            each.cancel.set()

    def vote(self, question: int, column: Column) -> None:
        """Prefer an answer; kept in the data folder."""
        self.voted[question] = column.name
        _keep_vote(
            {
                "time": time.time(),
                "question": self.questions[question],
                "prompt": self.prompts[question].fingerprint,
                "answers": {c.name: c.replies[question].text for c in self.columns},
                "preferred": column.name,
            }
        )

    def _work(self, columns: Sequence[Column]) -> None:
        """The columns of one device, one after another."""
        for column in columns:
            try:
                self._answer_all(column)
            except LensError as error:
                _unanswered(column).error = str(error)
                column.state = "failed"
            except Exception:  # a bug: the other columns must still answer
                logger.exception("%s failed", column.name)
                _unanswered(column).error = "It failed unexpectedly; the log has the details."
                column.state = "failed"

    def _answer_all(self, column: Column) -> None:
        if column.cancel.is_set():
            column.state = "stopped"
            return
        column.state = "loading"
        if isinstance(column.backend, LlamaCppBackend):
            # Else its start, or a start anew for clips, would count as the first answer's.
            column.cold_seconds = column.backend.prepare(self.prompts[0], column.cancel)
        loaded = _is_loaded(column.backend)
        first = self._warm(column)
        if not loaded:
            column.cold_seconds = first
            first = self._warm(column)
        column.warm_seconds = first
        for reply, prompt in zip(column.replies, self.prompts):
            if column.cancel.is_set():
                break
            column.state = "answering"
            self._answer(column, reply, prompt)
        column.progress = "Hashing files"
        column.revision, column.files = column.backend.revision, file_hashes(column.backend)
        column.progress = ""
        column.state = "stopped" if column.cancel.is_set() else "done"

    def _warm(self, column: Column) -> float | None:
        """Seconds to the first word of a question without pictures."""
        hello = build_prompt([Message("user", "Hello")], lambda key: (_ for _ in ()).throw(KeyError(key)))
        seconds = None
        for event in column.backend.generate(hello, GenerationSettings(max_new_tokens=1), column.cancel):
            if isinstance(event, Progress):
                column.progress = event.text
            elif isinstance(event, Stats):
                seconds = event.time_to_first_token_seconds
        return seconds  # after its end: a failure comes after the figures

    def _answer(self, column: Column, reply: Reply, prompt: Prompt) -> None:
        try:
            for event in column.backend.generate(prompt, self.settings, column.cancel):
                if isinstance(event, Progress):
                    column.progress = event.text
                elif isinstance(event, Delta):
                    column.progress = ""
                    reply.text += event.text
                else:
                    reply.stats = event
        except LensError as error:
            reply.error = str(error)  # the next question may go well


def _by_device(columns: Sequence[Column]) -> list[list[Column]]:
    devices = dict.fromkeys(column.device for column in columns)
    return [[c for c in columns if c.device == device] for device in devices]


def _unanswered(column: Column) -> Reply:
    return next((r for r in column.replies if not r.text and not r.error), column.replies[-1])


def _is_loaded(backend: Backend) -> bool:
    handle = getattr(backend, "handle", None)
    return handle is None or handle.state == "ready"


def device_of(backend: Backend) -> str:
    """Where it computes: this machine, or a host by name."""
    host = urlsplit(getattr(backend, "url", "")).hostname or "localhost"
    return "this machine" if host in ("localhost", "127.0.0.1", "::1") else host


def file_hashes(backend: Backend) -> dict[str, str]:
    """SHA-256 of the files of weights, by name; empty for a server elsewhere and for models of the hub."""
    if isinstance(backend, LlamaCppBackend):
        paths = [p for p in (backend.options.text, backend.options.projector) if p is not None]
    else:
        folder = getattr(getattr(backend, "spec", None), "folder", None)
        paths = sorted(folder.glob("*.safetensors")) if folder is not None and hasattr(backend, "handle") else []
    return {path.name: _sha256(path, path.stat().st_mtime_ns) for path in paths}


@lru_cache(maxsize=64)
def _sha256(path: Path, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def marked(text: str, reference: str) -> list[tuple[str, bool]]:
    """A text cut into pieces: (piece, whether the reference says something else there). The pieces together are the text."""
    ours, theirs = re.findall(r"\S+\s*", text), re.findall(r"\S+\s*", reference)
    matcher = difflib.SequenceMatcher(a=[w.strip() for w in theirs], b=[w.strip() for w in ours], autojunk=False)
    out = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            out.append(("".join(ours[start:end]), kind != "equal"))
    return out


def _keep_vote(vote: dict[str, object]) -> None:
    path = data_folder() / "votes.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(vote, ensure_ascii=False) + "\n")


def votes() -> list[dict[str, object]]:
    """All that were kept, the oldest first; lines that cannot be read are passed over."""
    out = []
    try:
        lines = (data_folder() / "votes.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def figures(reply: Reply) -> dict[str, object]:
    """What an answer took; empty before its end."""
    return asdict(reply.stats) if reply.stats else {}

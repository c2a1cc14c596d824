"""The same prompts to several backends, side by side: answers as they come, figures, votes.

Backends on one device answer in turn, so that none is measured against another; those on different devices at the same
time. Knows backends by their contract, and which have files. Does not know who watches.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import random
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from smolvlm_core.backends.base import Backend, Capabilities, Delta, Event, Progress, Startable
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.compare import votes
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.load import local_folder
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import Message
from smolvlm_core.work.device_lock import device_of, turn

logger = logging.getLogger(__name__)
MOST_COLUMNS = 4
KEPT_COMPARISONS = 8
State = Literal["waiting", "loading", "answering", "done", "failed", "stopped"]


@dataclass
class Reply:
    """One backend's answer to one question."""

    text: str = ""
    stats: Stats | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        return self.stats is not None or bool(self.error)

    @property
    def how_it_ended(self) -> str:
        """What keeps it from being a whole answer, in words; "" where it is one."""
        if not self.text or self.stats is None:
            return ""
        return {
            "cancelled": "Stopped: not the whole answer.",
            "failed": "Broken off: not the whole answer.",
            "length": f"Cut after {self.stats.new_tokens} tokens, the most that were asked for.",
            "context": "Cut: the model's context is full.",
        }.get(self.stats.stop_reason, "")


@dataclass
class Column:
    """One backend. `cold_seconds`: what its start took, now or earlier, None where that is not known; `warm_seconds`: its
    first word on an empty prompt, once started."""

    name: str
    backend: Backend
    device: str
    replies: list[Reply]
    state: State = "waiting"
    progress: str = ""
    asking: int = 0
    cold_seconds: float | None = None
    warm_seconds: float | None = None
    revision: str = ""
    files: dict[str, str] = field(default_factory=dict)
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> bool:
        return self.state in ("done", "failed", "stopped")


class Unavailable:
    """In the place of a backend that cannot be had: its column says why, and the others answer."""

    revision = ""

    def __init__(self, name: str, error: LensError) -> None:
        self.name, self._error = name, error

    def capabilities(self) -> Capabilities:
        raise self._error

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        raise self._error

    def close(self) -> None:
        pass


class Comparison:
    """Started at once; `stop` and the columns may be used from any thread.

    `blind`: who votes must not know the names, so columns answer and stand in an order of their own (`order`).

    Raises:
        LensError: fewer than two or more than four backends, two of them the same, or nothing asked.
    """

    def __init__(
        self,
        backends: Sequence[tuple[str, Backend]],
        asked: Sequence[tuple[str, Prompt]],
        settings: GenerationSettings,
        *,
        blind: bool = False,
    ) -> None:
        if not 2 <= len(backends) <= MOST_COLUMNS:
            raise LensError(f"{len(backends)} backends chosen.", f"Choose two to {MOST_COLUMNS}.")
        if len({name for name, _ in backends}) < len(backends):
            raise LensError("Two backends have the same name.", "Choose different ones.")
        if not asked:
            raise LensError("Nothing is asked.", "Write a question, or several, one a line.")
        self.questions = [question for question, _ in asked]
        self.prompts = [prompt for _, prompt in asked]
        self.settings, self.blind = settings, blind
        self.begun = time.time()
        self.columns = [Column(name, b, device_of(b), [Reply() for _ in asked]) for name, b in backends]
        self.order = list(range(len(self.columns)))
        if blind:
            random.shuffle(self.order)
        self.voted: dict[int, str] = {}
        self._threads = [
            threading.Thread(target=self._work, args=(mine,), daemon=True) for mine in _by_device(self.shown)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def shown(self) -> list[Column]:
        """The columns in the order in which they stand."""
        return [self.columns[n] for n in self.order]

    @property
    def done(self) -> bool:
        return all(column.done for column in self.columns)

    @property
    def hides_names(self) -> bool:
        """Until every question that anyone answered has a vote."""
        answered = {n for n in range(len(self.questions)) if any(c.replies[n].text for c in self.columns)}
        return self.blind and not (self.done and answered <= set(self.voted))

    def reference(self, question: int) -> Column:
        """The first column that answered: what the others' answers are held against."""
        return next((c for c in self.shown if c.replies[question].text), self.shown[0])

    def wait(self, timeout_seconds: float | None = None) -> None:
        for thread in self._threads:
            thread.join(timeout_seconds)

    def stop(self, column: Column | None = None) -> None:
        """One column, or all. What was said is kept."""
        for each in [column] if column else self.columns:
            each.cancel.set()

    def vote(self, question: int, column: Column) -> None:
        """Prefer an answer; kept in the data folder. Raises StoreError where it cannot be."""
        votes.keep(
            {
                "time": time.time(),
                "blind": self.blind,
                "question": self.questions[question],
                "prompt": self.prompts[question].fingerprint,
                "answers": {c.name: c.replies[question].text for c in self.columns},
                "preferred": column.name,
            }
        )
        self.voted[question] = column.name

    def _work(self, columns: Sequence[Column]) -> None:
        """The columns of one device, one after another."""
        for column in columns:
            with turn(column.device, column.cancel, partial(_waits, column)) as mine:
                if mine:
                    self._run(column)
                else:
                    column.state = "stopped"

    def _run(self, column: Column) -> None:
        try:
            self._answer_all(column)
        except LensError as error:
            column.replies[column.asking].error = str(error)
            column.state = "failed"
        except Exception:  # a bug: the other columns must still answer
            logger.exception("%s failed", column.name)
            column.replies[column.asking].error = "It failed unexpectedly; the log has the details."
            column.state = "failed"

    def _answer_all(self, column: Column) -> None:
        column.state = "loading"
        if isinstance(column.backend, Startable):
            self._start(column, column.backend)
        column.warm_seconds = self._warm(column)
        for n, (reply, prompt) in enumerate(zip(column.replies, self.prompts)):
            if column.cancel.is_set():
                break
            column.state, column.asking = "answering", n
            self._answer(column, reply, prompt)
        column.progress = "Hashing files"
        column.revision, column.files = column.backend.revision, file_hashes(column.backend)
        column.progress = ""
        if column.cancel.is_set():
            column.state = "stopped"
        else:
            column.state = "failed" if all(r.error and not r.text for r in column.replies) else "done"

    def _start(self, column: Column, backend: Startable) -> None:
        """Else it would count as the first answer's."""
        longest = max(self.prompts, key=lambda prompt: len(prompt.text))
        for event in backend.prepare(longest, self.settings, column.cancel):
            if isinstance(event, Progress):
                column.progress = event.text
        column.cold_seconds = backend.load_seconds

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


_begun: dict[str, Comparison] = {}  # in the order they were begun


def keep_running(comparison: Comparison) -> str:
    """Keep a comparison findable by the key returned, also where the page that began it is loaded anew."""
    key = secrets.token_hex(8)
    _begun[key] = comparison
    for old in list(_begun)[:-KEPT_COMPARISONS]:
        if _begun[old].done:
            del _begun[old]
    return key


def find(key: str) -> Comparison | None:
    return _begun.get(key)


def _waits(column: Column) -> None:
    column.progress = "Waiting for another comparison or check"


def _by_device(columns: Sequence[Column]) -> list[list[Column]]:
    devices = dict.fromkeys(column.device for column in columns)
    return [[c for c in columns if c.device == device] for device in devices]


def file_hashes(backend: Backend) -> dict[str, str]:
    """SHA-256 of the files of weights, by name; empty for a server elsewhere, and of files that cannot be read."""
    paths: list[Path] = []
    try:
        if isinstance(backend, LlamaCppBackend):
            paths = [p for p in (backend.options.text, backend.options.projector) if p is not None]
        elif isinstance(backend, TransformersBackend) and catalog.is_cached(backend.spec):
            paths = sorted(local_folder(backend.spec).glob("*.safetensors"))
        return {path.name: _sha256(path, path.stat().st_mtime_ns) for path in paths}
    except (OSError, LensError) as error:
        logger.warning("the files of %s cannot be read: %s", backend.name, error)
        return {}


@lru_cache(maxsize=64)
def _sha256(path: Path, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def marked(text: str, reference: str) -> list[tuple[str, bool]]:
    """A text cut into pieces: (piece, whether the reference says something else there). The pieces together are the text,
    but for white space at its start."""
    ours, theirs = re.findall(r"\S+\s*", text), re.findall(r"\S+\s*", reference)
    matcher = difflib.SequenceMatcher(a=[w.strip() for w in theirs], b=[w.strip() for w in ours], autojunk=False)
    out = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            out.append(("".join(ours[start:end]), kind != "equal"))
    return out


def figures(reply: Reply) -> dict[str, object]:
    """What an answer took; empty before its end."""
    return asdict(reply.stats) if reply.stats else {}

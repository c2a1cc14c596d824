"""One backend's side of a comparison: its answers, its figures, where it stands. Plain data, but for the backend itself."""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from smolvlm_core.backends.base import Backend, Capabilities
from smolvlm_core.errors import LensError
from smolvlm_core.models.catalog import bundled
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Stats

logger = logging.getLogger(__name__)
ColumnState = Literal["waiting", "loading", "answering", "done", "failed", "stopped"]


@dataclass
class ColumnAnswer:
    """One backend's answer to one question, as it grows. `again`: of asking it once more, with its caches warm."""

    text: str = ""
    stats: Stats | None = None
    again: Stats | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        return self.stats is not None or bool(self.error)

    @property
    def why_incomplete(self) -> str:
        """Why it is not a complete answer, in words; "" where it is one."""
        if not self.text or self.stats is None:
            return ""
        return {
            "cancelled": "Stopped: not the complete answer.",
            "failed": "Interrupted: not the complete answer.",
            "length": f"Cut after {self.stats.new_tokens:,} tokens: the longest answer allowed.",
            "context": "Cut: the model's context is full.",
        }.get(self.stats.stop_reason, "")


def from_cache(stats: Stats, is_known: bool) -> str:
    """What of a prompt was not computed again, in a few words. `is_known`: a backend that says nothing used nothing."""
    parts = []
    if stats.known_tiles:
        parts.append(f"{stats.known_tiles:,} picture tile{'' if stats.known_tiles == 1 else 's'}")
    if stats.reused_tokens:
        parts.append(f"{stats.reused_tokens:,} of {stats.prompt_tokens:,} prompt tokens")
    return " and ".join(parts) or ("nothing" if is_known else "not reported")


def was_encoded(stats: Stats) -> bool:
    """Whether pictures of the prompt came from a cache. They stand at its start, so reused tokens are theirs first."""
    return bool(stats.known_tiles) or 0 < stats.image_tokens <= stats.reused_tokens


@dataclass(kw_only=True)
class Column:
    """One backend.

    `load_seconds`: what its last load took, None where that is unknown. `text_seconds`: its time to first token on a
    question without pictures, once loaded. `can_be_cold`: whether the app decides what it takes from caches. `files`: SHA-256 of
    its weights by file name.
    """

    name: str
    backend: Backend
    answers: list[ColumnAnswer]
    state: ColumnState = "waiting"
    progress: str = ""
    asking: int = 0
    load_seconds: float | None = None
    text_seconds: float | None = None
    can_be_cold: bool = True
    revision: str = ""
    files: dict[str, str] = field(default_factory=dict)
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> bool:
        return self.state in ("done", "failed", "stopped")


class Unavailable(Backend):
    """Takes the place of a backend that cannot be made: its column says why, and the others answer."""

    kind = "unavailable"

    def __init__(self, name: str, error: LensError) -> None:
        self.name, self._error, self.spec = name, error, bundled()

    def identity(self) -> str:
        return f"unavailable {self.name}"

    def capabilities(self) -> Capabilities:
        raise self._error

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        raise self._error


def file_hashes(backend: Backend) -> dict[str, str]:
    """SHA-256 of its weights by file name. Empty for a remote server, and where a file cannot be read."""
    try:
        return {path.name: _sha256(path, path.stat().st_mtime_ns) for path in backend.files()}
    except (OSError, LensError) as error:
        logger.warning("the files of %s cannot be read: %s", backend.name, error)
        return {}


@lru_cache(maxsize=64)
def _sha256(path: Path, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(text: str, reference: str) -> list[tuple[str, bool]]:
    """A text in pieces: (piece, whether the reference differs there). Together the pieces are the text, without leading spaces."""
    ours, theirs = re.findall(r"\S+\s*", text), re.findall(r"\S+\s*", reference)
    matcher = difflib.SequenceMatcher(a=[w.strip() for w in theirs], b=[w.strip() for w in ours], autojunk=False)
    out = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            out.append(("".join(ours[start:end]), kind != "equal"))
    return out

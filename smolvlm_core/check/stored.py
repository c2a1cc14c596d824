"""What checks asked, with pictures and answers: one private file for each backend, bounded in size and number.

Knows files; not backends, nor when a verdict holds.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import io
import logging
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from smolvlm_core.check.canaries import FRAME, STRIP, Canary, Subject
from smolvlm_core.check.run import Asked, Condition, SubjectResult, Verdict
from smolvlm_core.errors import StoreError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import read_json, write_json

logger = logging.getLogger(__name__)
MOST_FILES = 64  # backends; those that were checked longest ago go first
MOST_BYTES = 8 * 2**20  # of a file; a check of 480 questions takes about 2 MB
MOST_CHARACTERS = 2000  # of an answer
SIZES = (STRIP, FRAME)  # px: of the pictures that checks draw


@dataclass(frozen=True)
class _Shown:
    subject: Subject
    pictures: tuple[str, ...]  # PNG in base64
    question: str
    options: tuple[str, ...]
    right: str


@dataclass(frozen=True)
class _Answer:
    shown: int  # its place among the test images
    condition: Condition
    answer: str
    right: bool
    prompt_tokens: int = 0


@dataclass(frozen=True)
class _StoredCheck:
    verdict: Literal["sees", "degraded", "blind"]
    confidence: float
    shown: tuple[_Shown, ...]
    asked: tuple[_Answer, ...]
    chance: float = 1.0
    seconds: float = 0.0
    cause: str = ""
    fix: str = ""
    subjects: dict[str, SubjectResult] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


class StoredChecks:
    """The checks of one data folder, by the identity of their backend. Used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checks"

    def save(self, identity: str, verdict: Verdict) -> None:
        """In place of the last one. One that cannot be stored is logged: the verdict holds without it."""
        self.delete(identity)
        try:
            write_json(self._path(identity), asdict(_stored(verdict)), private=True)
            self._drop_oldest()
        except (StoreError, OSError) as error:
            logger.warning("the questions of a check are not stored: %s", error)

    def find(self, identity: str) -> Verdict | None:
        """The verdict with all that was asked; None where it is not stored or cannot be read."""
        path = self._path(identity)
        try:
            found = path.stat()
        except OSError:
            return None
        return _read(path, found.st_mtime_ns, found.st_size)

    def delete(self, identity: str) -> None:
        """A file that cannot be deleted is logged."""
        try:
            self._path(identity).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("the questions of a check are not deleted: %s", error)

    def _path(self, identity: str) -> Path:
        return self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"

    def _drop_oldest(self) -> None:
        by_age = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in by_age[:-MOST_FILES]:
            path.unlink(missing_ok=True)


def _stored(verdict: Verdict) -> _StoredCheck:
    canaries = list(dict.fromkeys(asked.canary for asked in verdict.asked))
    places = {canary: place for place, canary in enumerate(canaries)}
    if verdict.verdict == "unchecked":
        raise ValueError("a check that decided nothing is not stored")
    return _StoredCheck(
        verdict=verdict.verdict,
        confidence=verdict.confidence,
        chance=verdict.chance,
        seconds=verdict.seconds,
        cause=verdict.cause,
        fix=verdict.fix,
        subjects={str(subject): result for subject, result in verdict.subjects.items()},
        metadata=verdict.metadata,
        shown=tuple(
            _Shown(
                c.subject, tuple(base64.b64encode(png).decode() for png in c.encoded), c.question, c.options, c.right
            )
            for c in canaries
        ),
        asked=tuple(
            _Answer(places[a.canary], a.condition, _bounded(a.answer), a.right, a.prompt_tokens) for a in verdict.asked
        ),
    )


def _bounded(answer: str) -> str:
    more = len(answer) - MOST_CHARACTERS
    return answer if more <= 0 else f"{answer[:MOST_CHARACTERS]}… ({more:,} more characters)"


@lru_cache(maxsize=16)
def _read(path: Path, changed_ns: int, size_bytes: int) -> Verdict | None:
    """Once for each file as it is: pages ask at every run."""
    try:
        if size_bytes > MOST_BYTES:
            raise FieldError(f"it has {size_bytes / 2**20:.0f} MB")
        return _verdict(read_object(_StoredCheck, read_json(path, None)))
    except (StoreError, FieldError) as error:
        logger.warning("the questions of a check are left out: %s: %s", path.name, error)
        return None


def _verdict(stored: _StoredCheck) -> Verdict:
    """Raises FieldError."""
    canaries = [_canary(shown) for shown in stored.shown]
    if not all(0 <= answer.shown < len(canaries) for answer in stored.asked):
        raise FieldError("an answer names no test image")
    subjects: list[Subject] = ["shapes", "text", "clips"]
    return Verdict(
        stored.verdict,
        confidence=stored.confidence,
        chance=stored.chance if 0 < stored.chance <= 1 else 1.0,
        asked=[Asked(a.condition, canaries[a.shown], a.answer, a.right, a.prompt_tokens) for a in stored.asked],
        subjects={s: stored.subjects[s] for s in subjects if s in stored.subjects and stored.subjects[s].chance > 0},
        seconds=stored.seconds,
        cause=stored.cause,
        fix=stored.fix,
        metadata=stored.metadata,
    )


def _canary(shown: _Shown) -> Canary:
    encoded = tuple(map(_png, shown.pictures))
    return Canary(shown.subject, encoded, shown.question, shown.options, shown.right)


def _png(text: str) -> bytes:
    """A picture that a check can have drawn. Raises FieldError."""
    try:
        png = base64.b64decode(text, validate=True)
        with contextlib.closing(Image.open(io.BytesIO(png), formats=["PNG"])) as picture:
            if picture.size not in SIZES:
                raise FieldError(f"a picture has {picture.width} × {picture.height} px")
            picture.load()
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FieldError(f"a picture cannot be read: {error}") from error
    return png

"""The last verdict on each backend, stored in the data folder: a badge wherever the backend can be chosen."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolvlm_core.backends.base import Backend
from smolvlm_core.check.run import Verdict
from smolvlm_core.errors import StoreError
from smolvlm_core.files import read_json, write_json

logger = logging.getLogger(__name__)
EXPIRES_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class StoredVerdict:
    """`when`: seconds since the epoch."""

    verdict: str
    confidence: float
    when: float
    cause: str = ""
    fix: str = ""


class Verdicts:
    """Verdicts of one data folder. Used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "verdicts.json"
        self._lock = threading.Lock()

    def save(self, backend: Backend, verdict: Verdict) -> None:
        """A check that was stopped decides nothing and is not saved."""
        if verdict.verdict == "unchecked":
            return
        stored = StoredVerdict(
            verdict=verdict.verdict,
            confidence=verdict.confidence,
            when=time.time(),
            cause=verdict.cause,
            fix=verdict.fix,
        )
        with self._lock:
            try:
                write_json(self._path, {**self._read(), backend.identity(): asdict(stored)})
            except StoreError as error:
                logger.warning("the verdict on %s is not saved: %s", backend.name, error)

    def last(self, backend: Backend) -> StoredVerdict | None:
        """None where it was never checked, has changed since, or "sees" has expired."""
        stored = self._stored(backend)
        return None if stored is not None and stored.verdict == "sees" and self._is_due(backend, stored) else stored

    def is_due(self, backend: Backend) -> bool:
        """Whether it was never checked, or its verdict has expired."""
        return self._is_due(backend, self._stored(backend))

    def _is_due(self, backend: Backend, stored: StoredVerdict | None) -> bool:
        return stored is None or (backend.verdict_expires and time.time() - stored.when >= EXPIRES_SECONDS)

    def _stored(self, backend: Backend) -> StoredVerdict | None:
        row = self._read().get(backend.identity())
        if not isinstance(row, dict):
            return None
        row = {"fix": row.pop("mend", ""), **row}  # what the field was called before
        with contextlib.suppress(TypeError):
            return StoredVerdict(**row)
        return None

    def _read(self) -> dict[str, Any]:
        try:
            known = read_json(self._path, {})
        except StoreError as error:
            logger.warning("%s", error)  # badges are missing until the next check
            return {}
        return known if isinstance(known, dict) else {}

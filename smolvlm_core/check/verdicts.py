"""The last verdict on each backend and what was asked for it, stored in the data folder: a badge wherever it can be chosen."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from smolvlm_core.backends.base import Backend
from smolvlm_core.check.run import Verdict
from smolvlm_core.check.stored import StoredChecks
from smolvlm_core.errors import StoreError
from smolvlm_core.fields import FieldError, read_object, seconds_of
from smolvlm_core.files import Remembered

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
        self._rows = Remembered(lambda: folder / "verdicts.json")
        self._checks = StoredChecks(folder)

    @property
    def problem(self) -> StoreError | None:
        """Why stored verdicts could not be read."""
        return self._rows.problem

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
        self._rows.put(backend.identity(), asdict(stored))
        self._checks.save(backend.identity(), verdict)

    def check_of(self, backend: Backend) -> Verdict | None:
        """The check that the last verdict rests on, with all that was asked; None where that is not stored."""
        return self._checks.find(backend.identity()) if self.last(backend) is not None else None

    def forget(self, backend: Backend) -> None:
        """Delete its verdict, and what was asked."""
        identity = backend.identity()
        self._rows.keep(lambda key, _: key != identity)
        self._checks.delete(identity)

    def last(self, backend: Backend) -> StoredVerdict | None:
        """None where it was never checked, has changed since, or "sees" has expired."""
        stored = self._stored(backend)
        return None if stored is not None and stored.verdict == "sees" and self._is_due(backend, stored) else stored

    def is_due(self, backend: Backend) -> bool:
        """Whether it was never checked, or its verdict has expired."""
        return self._is_due(backend, self._stored(backend))

    def _is_due(self, backend: Backend, stored: StoredVerdict | None) -> bool:
        if stored is None:
            return True
        age_seconds = time.time() - stored.when
        # A verdict of the future: the clock was set back since, and how old it is is unknown.
        return backend.verdict_expires and not 0 <= age_seconds < EXPIRES_SECONDS

    def _stored(self, backend: Backend) -> StoredVerdict | None:
        row = self._rows.get(backend.identity())
        if isinstance(row, dict) and "mend" in row:
            row = {"fix": row["mend"], **{name: value for name, value in row.items() if name != "mend"}}  # its old name
        try:
            stored = read_object(StoredVerdict, row) if row is not None else None
            if stored is not None:
                seconds_of(stored.when)
            return stored
        except FieldError as error:
            self._rows.skip(backend.identity(), error)
            return None

"""The last verdict on each backend, kept in the data folder: a badge wherever it can be picked."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

from smolvlm_core.check.run import Verdict
from smolvlm_core.paths import data_folder


@dataclass(frozen=True)
class Kept:
    """`when`: seconds since the epoch. `revision`: what was checked, where the backend told."""

    verdict: str
    confidence: float
    when: float
    revision: str = ""
    cause: str = ""
    mend: str = ""


def keep(name: str, revision: str, verdict: Verdict) -> None:
    """A check that was broken off says nothing and is not kept."""
    if verdict.verdict == "unchecked":
        return
    known = _read()
    kept = Kept(verdict.verdict, verdict.confidence, time.time(), revision, verdict.cause, verdict.mend)
    known[name] = asdict(kept)
    path = data_folder() / "verdicts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(known, file, indent=1)
    os.replace(file.name, path)


def last(name: str) -> Kept | None:
    """None where it was never checked."""
    try:
        return Kept(**_read()[name])
    except (KeyError, TypeError):
        return None


def _read() -> dict[str, Any]:
    try:
        known = json.loads((data_folder() / "verdicts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a badge less, until the next check
    return known if isinstance(known, dict) else {}

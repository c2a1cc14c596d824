"""The last verdict on each backend, kept in the data folder: a badge wherever it can be picked."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check.run import Verdict
from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.programs import find_server
from smolvlm_core.paths import data_folder

logger = logging.getLogger(__name__)
SERVER_SECONDS = 24 * 3600
_lock = threading.Lock()


@dataclass(frozen=True)
class Kept:
    """`when`: seconds since the epoch."""

    verdict: str
    confidence: float
    when: float
    cause: str = ""
    mend: str = ""


def identity(backend: Backend) -> str:
    """What a verdict holds for: these files as they are now, or this model at this address."""
    if isinstance(backend, LlamaCppBackend):
        paths = [p for p in (backend.options.text, backend.options.projector) if p is not None]
        return " ".join([*map(_state_of, paths), str(backend.options.context_tokens), _build(backend.options.program)])
    if isinstance(backend, TransformersBackend):
        folder = backend.spec.folder
        weights = sorted(folder.glob("*.safetensors")) if folder is not None else []
        return " ".join([backend.spec.weights_id, backend.dtype, *map(_state_of, weights)])
    return f"{getattr(backend, 'url', '')} {getattr(backend, 'model', '')} {backend.name}"


def _build(program: str) -> str:
    try:
        return find_server(program).told
    except ModelError:
        return ""


def _state_of(path: Path) -> str:
    try:
        return f"{path} {path.stat().st_mtime_ns}"
    except OSError:
        return str(path)


def keep(backend: Backend, verdict: Verdict) -> None:
    """A check that was broken off says nothing and is not kept."""
    if verdict.verdict == "unchecked":
        return
    with _lock:
        try:
            _keep(backend, verdict)
        except OSError as error:
            logger.warning("the verdict on %s cannot be kept: %s", backend.name, error)


def _keep(backend: Backend, verdict: Verdict) -> None:
    known = _read()
    known[identity(backend)] = asdict(
        Kept(verdict.verdict, verdict.confidence, time.time(), verdict.cause, verdict.mend)
    )
    path = data_folder() / "verdicts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(known, file, indent=1)
    os.replace(file.name, path)


def last(backend: Backend) -> Kept | None:
    """None where it was never checked, or has changed since; of a server, which may have changed, "sees" holds for a day."""
    kept = _kept(backend)
    return None if kept is not None and kept.verdict == "sees" and is_due(backend) else kept


def is_due(backend: Backend) -> bool:
    """Never checked, or, of a server, not for a day."""
    kept = _kept(backend)
    is_server = not isinstance(backend, LlamaCppBackend | TransformersBackend)
    return kept is None or (is_server and time.time() - kept.when >= SERVER_SECONDS)


def _kept(backend: Backend) -> Kept | None:
    try:
        return Kept(**_read()[identity(backend)])
    except (KeyError, TypeError):
        return None


def _read() -> dict[str, Any]:
    try:
        known = json.loads((data_folder() / "verdicts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a badge less, until the next check
    return known if isinstance(known, dict) else {}

"""What the sidebar and the Backends page say of a backend: its title, where it stands, its last verdict."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

import streamlit as st

from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend, ServerHandle
from smolvlm_core.backends.registry import Added
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import verdicts
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import POOL, ModelHandle
from smolvlm_core.models.machine import GIB
from ui.text import show_error

_COLORS = {"sees": "green", "degraded": "orange", "blind": "red", "unchecked": "gray"}
_ICONS = {"sees": "visibility", "degraded": "warning", "blind": "visibility_off", "unchecked": "help"}


def draw_badge(verdict: str, told: str = "") -> None:
    st.badge(f"{verdict.capitalize()}{told}", icon=f":material/{_ICONS[verdict]}:", color=_COLORS[verdict])  # type: ignore[arg-type]


def badge(backend: Backend) -> None:
    """A backend's last verdict and its day; nothing where it was never checked."""
    kept = verdicts.last(backend)
    if kept is not None:
        draw_badge(kept.verdict, f", checked {datetime.fromtimestamp(kept.when):%Y-%m-%d %H:%M}")


def told_size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def entries() -> tuple[Added, ...]:
    """Those that a user has added; a list that cannot be read is told, and the page goes on without it."""
    try:
        return registry.added()
    except LensError as error:
        show_error(error)
        return ()


def checkpoints() -> list[ModelSpec]:
    """Those that transformers can load without a download: of the catalogue, and folders given in this session."""
    known = [spec for spec in catalog.models() if catalog.is_cached(spec)]
    for name in st.session_state["folders"]:
        with contextlib.suppress(LensError):  # gone, or changed, since it was given
            known.append(catalog.from_folder(Path(name)))
    return known


def titles() -> dict[str, str]:
    """Key → what is shown in a choice of models."""
    return {e.key: e.title if e.kind == "ollama" else f"{e.title} · {kind_told(e)}" for e in entries()}


def kind_told(entry: Added) -> str:
    if entry.kind == "ollama":
        return "Ollama"
    if entry.kind == "url":
        return "llama-server elsewhere" if entry.is_llama_server else "server"
    return "llama.cpp" if entry.projector else "llama.cpp, no projector"


def states() -> list[tuple[str, str]]:
    """Every backend that is loaded or was added, and where it stands."""
    out = [(f"{h.spec.title} · transformers", state_told(TransformersBackend(h.spec, h.dtype))) for h in POOL.loaded()]
    for entry in entries():
        try:
            told = state_told(registry.of_entry(entry).backend)
        except LensError as error:
            told = str(error)
        out.append((f"{entry.title} · {kind_told(entry)}", told))
    return out


def state_told(backend: Backend) -> str:
    if not isinstance(backend, TransformersBackend | LlamaCppBackend):
        return "runs elsewhere"
    handle = _handle(backend)
    if handle is None:
        return "not started"
    if handle.state == "ready":
        return f"ready, {ready_told(backend)}"
    if handle.state == "failed":
        return f"failed: {handle.error}"
    return {"loading": f"{handle.status_text}…", "not loaded": "not started"}[handle.state]


def _handle(backend: TransformersBackend | LlamaCppBackend) -> ModelHandle | ServerHandle | None:
    """To look at only: that counts as no use of the model, which would change what is released first."""
    if isinstance(backend, TransformersBackend):
        return POOL.peek(backend.spec, backend.dtype)
    return backend.handle


def is_busy(backend: Backend) -> bool:
    """Whether its model is being loaded, or answers."""
    if not isinstance(backend, TransformersBackend | LlamaCppBackend):
        return False
    handle = _handle(backend)
    return handle is not None and (handle.state == "loading" or handle.worker.busy)


def ready_told(backend: TransformersBackend | LlamaCppBackend) -> str:
    if isinstance(backend, TransformersBackend):
        handle = POOL.peek(backend.spec, backend.dtype)
        if handle is None or (loaded := handle.loaded) is None:
            return ""
        device = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}[loaded.device]
        return f"on {device}, {told_size(loaded.memory_bytes)} of weights, loaded in {loaded.load_seconds:.1f}\u00a0s"
    server = backend.handle.server
    if server is None:
        return ""
    return (
        f"llama-server {server.program.told}, {told_size(server.memory_bytes)}, "
        f"started in {backend.handle.load_seconds:.1f}\u00a0s"
    )

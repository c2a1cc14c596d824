"""Where a handle of the pool stands, as a backend's status."""

from __future__ import annotations

from typing import Any

from smolvlm_core.backends.base import Status
from smolvlm_core.work.pool import Handle


def status_of(handle: Handle[Any] | None) -> Status:
    """`handle`: None where nothing was loaded yet."""
    if handle is None:
        return Status(state="not loaded", text="Loads with your next question")
    loaded, state, busy = handle.loaded, handle.state, handle.is_busy
    if state == "loading":
        return Status(state=state, text=handle.status_text, fraction=handle.status_fraction, busy=True)
    if state == "failed":
        return Status(state=state, text=str(handle.error), busy=busy, error=handle.error)
    if state == "ready" and loaded is not None:
        used = handle.loader.used_bytes(loaded)
        return Status(state=state, text=handle.loader.describe(loaded), memory_bytes=used, busy=busy)
    return Status(state="not loaded", text="Loads with your next question", busy=busy)

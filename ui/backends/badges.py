"""What pages show of a backend: its last verdict, and where it stands."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.errors import LensError
from ui.state import workspace
from ui.text import show_error

_COLORS = {"sees": "green", "degraded": "orange", "blind": "red", "unchecked": "gray"}
_ICONS = {"sees": "visibility", "degraded": "warning", "blind": "visibility_off", "unchecked": "help"}


def draw(verdict: str, details: str = "") -> None:
    st.badge(f"{verdict.capitalize()}{details}", icon=f":material/{_ICONS[verdict]}:", color=_COLORS[verdict])  # type: ignore[arg-type]


def in_text(verdict: str) -> str:
    """A verdict as a word in a line."""
    return f":{_COLORS[verdict]}[:material/{_ICONS[verdict]}: {verdict.capitalize()}]"


def draw_last(backend: Backend) -> None:
    """A backend's last verdict and its day; nothing where it was never checked."""
    stored = workspace().verdicts.last(backend)
    if stored is not None:
        draw(stored.verdict, f", checked {datetime.fromtimestamp(stored.when):%Y-%m-%d %H:%M}")


def draw_problem() -> None:
    """An error where the list of added backends cannot be read; the page goes on without them."""
    if (problem := workspace().registry.problem) is not None:
        show_error(problem)


def status_line(entry: Entry) -> str:
    """Where the backend of an entry stands, or why it cannot be used."""
    try:
        return status_text(entry.make(workspace().pool))
    except LensError as error:
        return str(error)


def status_text(backend: Backend) -> str:
    """Where a backend stands, in a few words."""
    status = backend.status()
    if status.state == "ready":
        return f"Ready, {status.text}"
    if status.state == "failed":
        return f"Failed: {status.text}"
    return {"remote": status.text, "not loaded": "Not loaded"}.get(status.state, f"{status.text}…")

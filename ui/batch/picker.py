"""Which batch the page shows: one of those in the data folder, or the form for a new one."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from smolvlm_core.batch.jobs import SavedBatch
from ui import address
from ui.state import session, workspace
from ui.text import show_error

NEW = ""


def open_batch(identity: str) -> None:
    """From the next run of the page. `NEW` opens the form."""
    session().batch.open = identity


def draw() -> SavedBatch | None:
    """The choice, where there is one. None for the form."""
    batches = workspace().batches
    known = {batch.identity: batch for batch in batches.all()}
    if batches.problem is not None:
        show_error(batches.problem)
    page = session().batch
    named = address.follow(address.BATCH, page.open or None)
    page.open = named or (_running(known) if page.open is None else NEW)
    if page.open not in known:
        page.open = NEW
    if known:
        st.session_state["batch_open"] = page.open  # it may have been set elsewhere, by starting a batch
        st.selectbox(
            "Batch",
            [NEW, *known],
            key="batch_open",
            format_func=lambda identity: _label(known.get(identity)),
            on_change=_chosen,
        )
    address.show(address.BATCH, page.open or None)
    if page.open == NEW:
        return None
    address.set_title(known[page.open].request.title)
    return known[page.open]


def _chosen() -> None:
    open_batch(st.session_state["batch_open"])


def _running(known: dict[str, SavedBatch]) -> str:
    for identity, batch in known.items():
        run = workspace().batches.run_of(batch)
        if run is not None and run.is_running:
            return identity
    return NEW


def _label(batch: SavedBatch | None) -> str:
    if batch is None:
        return "New batch"
    return f"{batch.request.title} · {datetime.fromtimestamp(batch.created):%Y-%m-%d %H:%M}"

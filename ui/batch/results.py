"""The answers of a batch as a table: filter, sort, turn pages, select rows. Follows the batch while it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from smolvlm_core.batch.jobs import SavedBatch
from smolvlm_core.batch.table import ONLY, SORTS, Only, Row, Sort, common_parent, pick
from smolvlm_core.errors import LensError
from ui import forms
from ui.batch import detail, inputs
from ui.batch.selection import Selection
from ui.state import session, workspace
from ui.text import show_error

ROWS_PER_PAGE = 100
ANSWER_WIDTH = 330  # px: the other columns fit beside it
POLL_SECONDS = 2.0
AGAIN = "batch again"  # the form
ONLY_LABELS: dict[Only, str] = {"all": "All", "failed": "Failed", "edited": "Edited", "cut off": "Cut off"}
SORT_LABELS: dict[Sort, str] = {
    "finished first": "First finished",
    "finished last": "Last finished",
    "name": "Name",
    "slowest": "Slowest",
    "longest": "Most tokens",
}


def draw(batch: SavedBatch) -> None:
    run = workspace().batches.run_of(batch)
    polled = run is not None and run.is_running
    st.fragment(_results, run_every=POLL_SECONDS if polled else None)(batch)


def _results(batch: SavedBatch) -> None:
    try:
        rows = workspace().batches.table(batch).rows()
    except LensError as error:
        show_error(error)
        return
    if not rows:
        st.caption("No answers yet.")
        return
    picked, view = _draw_filters(batch, rows)
    _draw_page(batch, rows, picked, view)
    known = {row.id: row for row in rows}
    selection = session().batch.selections[batch.identity]
    _draw_ask_again(batch, [known[row_id] for row_id in selection.ids if row_id in known])
    if selection.shown in known:
        detail.draw(batch, known[selection.shown])
    else:
        st.caption(
            "Click a row to see the picture or the frames beside the answer, and to edit the answer. Tick rows to ask about several again."
        )


def _draw_filters(batch: SavedBatch, rows: Sequence[Row]) -> tuple[list[Row], str]:
    """(the rows that match, a name for this view)"""
    key = batch.identity
    counts = {only: sum(row.is_one_of(only) for row in rows) for only in ONLY}
    search, order = st.columns([3, 1])
    words = search.text_input("Search", key=f"batch_words_{key}", placeholder="Words of a name, answer or error")
    only: Any = st.segmented_control(
        "Show",
        list(ONLY),
        default="all",
        required=True,
        label_visibility="collapsed",
        format_func=lambda one: f"{ONLY_LABELS[one]} {counts[one]:,}",
        key=f"batch_only_{key}",
    )
    sort: Any = order.selectbox("Sort by", list(SORTS), format_func=SORT_LABELS.__getitem__, key=f"batch_sort_{key}")
    return pick(rows, words, only, sort), f"{words}\0{only}\0{sort}"


def _draw_page(batch: SavedBatch, rows: Sequence[Row], picked: Sequence[Row], view: str) -> None:
    if not picked:
        st.caption("No rows match.")
        return
    if len(picked) < len(rows):
        st.caption(f"{len(picked):,} of {len(rows):,} rows")
    pages = -(-len(picked) // ROWS_PER_PAGE)
    place = st.container()
    name = hashlib.sha256(f"{batch.identity}\0{view}".encode()).hexdigest()[:12]
    number = 1
    if pages > 1:
        number = min(st.pagination(pages, key=f"batch_page_{name}_{pages}"), pages)
    shown = picked[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]
    with place:
        _draw_table(batch, shown, common_parent([row.item for row in rows]), f"batch_table_{name}_{number}")


def _draw_table(batch: SavedBatch, shown: Sequence[Row], parent: str, view: str) -> None:
    selection, ids = session().batch.selections[batch.identity], [row.id for row in shown]
    key = selection.key(view, ids)
    columns: dict[str, list[Any]] = {
        "Name": [row.item.removeprefix(parent) for row in shown],
        "Answer": [row.text for row in shown],
    }
    if any(row.prompt != batch.request.prompt for row in shown):
        columns["Prompt"] = [row.prompt for row in shown]
    if any(row.error for row in shown):
        columns["Error"] = [row.error for row in shown]
    if any(row.is_edited or row.is_cut_off for row in shown):
        columns["Note"] = [_note(row) for row in shown]
    columns["Seconds"] = [round(row.seconds, 2) for row in shown]
    columns["Tokens"] = [row.tokens for row in shown]
    st.dataframe(
        columns,
        key=key,
        hide_index=True,
        height=min(38 + 35 * len(shown), 420),
        column_config={
            "Name": st.column_config.TextColumn(width="medium"),
            "Answer": st.column_config.TextColumn(width=ANSWER_WIDTH),
            "Error": st.column_config.TextColumn(width="medium"),
            "Note": st.column_config.TextColumn(width="small"),
            "Seconds": st.column_config.NumberColumn(width="small", format="%.2f"),
            "Tokens": st.column_config.NumberColumn(width="small"),
        },
        on_select=partial(_take_selection, selection, key, ids),
        selection_mode=["multi-row", "single-cell"],
        selection_default=selection.places(ids),
    )


def _take_selection(selection: Selection, key: str, ids: Sequence[str]) -> None:
    places = st.session_state[key]["selection"]
    selection.take(places["rows"], places["cells"], ids)


def _note(row: Row) -> str:
    return ", ".join(name for name, holds in (("edited", row.is_edited), ("cut off", row.is_cut_off)) if holds)


def _draw_ask_again(batch: SavedBatch, selected: Sequence[Row]) -> None:
    run = workspace().batches.running
    count = f" ({len(selected):,} rows)" if len(selected) > 1 else ""
    edited = sum(row.is_edited for row in selected)
    pressed = st.button(
        f"Ask again{count}",
        key="batch_ask_again",
        icon=":material/refresh:",
        disabled=not selected or run is not None,
        help="The new answers take the place of the selected ones"
        + (f", and of {edited:,} that you edited." if edited else "."),
    )
    forms.draw_problems(AGAIN)
    if not pressed:
        return
    forms.pressed(AGAIN)
    try:
        inputs.refuse_paths(batch)
        asked = workspace().batches.ask_again(batch, {row.id for row in selected})
    except LensError as error:
        show_error(error)
        return
    if asked < len(selected):
        gone = len(selected) - asked
        forms.refuse(AGAIN, f"{gone:,} of {len(selected):,} rows are not asked again: their files are gone.")
    session().batch.selections[batch.identity].clear()
    st.rerun()

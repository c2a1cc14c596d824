"""How far a batch is, and its buttons: pause, stop, go on. Updates itself only while the batch runs."""

from __future__ import annotations

from functools import partial

import streamlit as st

from smolvlm_core.batch.jobs import SavedBatch
from smolvlm_core.batch.running import Run
from smolvlm_core.errors import LensError
from ui import forms
from ui.batch import inputs, picker
from ui.state import workspace
from ui.text import escape, message, show_error

POLL_SECONDS = 0.7
GO_ON = "batch go on"  # the form


def draw_running_elsewhere(batch: SavedBatch | None) -> None:
    """Another batch than the one that is shown."""
    for other in workspace().batches.all():
        run = workspace().batches.run_of(other)
        if run is None or not run.is_running or (batch is not None and batch.identity == other.identity):
            continue
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f":material/hourglass_top: Running: {escape(other.request.title)}", width="content")
            st.button("Show", key="batch_show", type="tertiary", on_click=picker.open_batch, args=(other.identity,))


def draw(batch: SavedBatch) -> None:
    run = workspace().batches.run_of(batch)
    polled = run is not None and run.is_running
    st.fragment(_progress, run_every=POLL_SECONDS if polled else None)(batch, polled)


def _progress(batch: SavedBatch, polled: bool) -> None:
    run = workspace().batches.run_of(batch)
    if run is not None and run.is_running:
        _draw_running(run)
    elif polled:
        st.rerun()  # draws the results once more and ends the polling
    else:
        _draw_ended(batch, run)


def _draw_running(run: Run) -> None:
    progress = run.progress
    done = progress.done / progress.total if progress.total else 0.0
    st.progress(done, text=message(run.describe()))
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.was_stopped:
            st.caption(":material/hourglass_top: Stopping…")
            return
        if run.is_paused:
            st.button("Resume", icon=":material/play_arrow:", key="batch_resume", on_click=run.resume)
        else:
            st.button("Pause", icon=":material/pause:", key="batch_pause", on_click=run.pause)
        st.button("Stop", icon=":material/stop:", key="batch_stop", on_click=run.stop)
        if progress.current:
            st.caption(escape(progress.current), width="stretch")


def _draw_ended(batch: SavedBatch, run: Run | None) -> None:
    if run is not None and run.problem is not None:
        show_error(run.problem)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Continue",
            icon=":material/play_arrow:",
            key="batch_go_on",
            help="Asks about what is new, changed or failed. What is answered is skipped.",
            on_click=partial(_go_on, batch),
        )
        if run is not None:
            st.caption(message(". ".join(_summary(run))), width="stretch")
    forms.draw_problems(GO_ON)


def _summary(run: Run) -> list[str]:
    """What the last run did."""
    progress = run.progress
    parts = [f"{progress.answered:,} answered"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.skipped:
        parts.append(f"{progress.skipped:,} answered before")
    if progress.remaining:
        parts.append(f"{progress.remaining:,} not asked")
    lines = [f"{'Stopped' if run.was_stopped else 'Last run'}: {', '.join(parts)}"]
    return lines + [line[0].upper() + line[1:] for line in (run.sidecars.describe() if run.sidecars else [])]


def _go_on(batch: SavedBatch) -> None:
    forms.pressed(GO_ON)
    try:
        inputs.refuse_paths(batch)
        workspace().batches.go_on(batch)
    except LensError as error:
        forms.refuse(GO_ON, error)

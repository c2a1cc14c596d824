"""Which model answers, and where it stands."""

from __future__ import annotations

import psutil
import streamlit as st

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.machine import describe_bytes, this_machine
from ui import state
from ui.backends import badges
from ui.state import session, workspace
from ui.text import escape, message, show_error

STATES = {"loading": "Loading…", "failed": "Failed to load", "ready": "Ready", "remote": "Remote server"}


def choose() -> Entry:
    """The model list, and what there is to know of the model, once it is asked for. Falls back to the default where the choice
    cannot be used."""
    registry, current = workspace().registry, session()
    spec, why = catalog.default_model(this_machine())
    default = registry.preferred(CheckpointEntry.of(spec))
    if default.self_test is not None and (result := default.self_test.result()) is not None:
        why = f"{why} {result.text}."
    known = {entry.key: entry for entry in registry.entries()}
    badges.draw_problem()
    if current.model is None:
        current.model = default.key
    shown = current.model if current.model in known else default.key
    if shown != current.model:
        st.warning(message(f"{current.model} is not available now. The default model is used instead."))
    st.session_state["model"] = shown  # it may have been set elsewhere, by adding a folder
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        st.selectbox(
            "Model",
            list(known),
            key="model",
            on_change=_chosen,
            format_func=lambda key: known[key].label if key in known else key,
            help="Add others on the Backends page: checkpoint folders, GGUF files for llama.cpp, and servers.",
        )
        about = st.popover(
            "About this model", icon=":material/info:", help="About this model", key="about_model", on_change="rerun"
        )
    entry = known[shown]
    try:
        backend = entry.make(workspace().pool)
    except LensError as error:
        show_error(f"{error} The default model is used instead.")
        entry = known[default.key]
        backend = entry.make(workspace().pool)
    if about.open:
        with about:
            _draw_facts(backend, why if entry.key == default.key else "")
    return entry


def _chosen() -> None:
    state.choose_model(st.session_state["model"])


def draw_status(backend: Backend) -> None:
    """Updates itself only while something changes: an idle tab asks the server for nothing."""
    if session().painted:
        _preload_once(backend)
    polled = not session().painted or _is_changing(backend)
    session().status_in_page = True
    st.fragment(_status, run_every=1.0 if polled else None)(backend, polled)
    session().painted = True


def _is_changing(backend: Backend) -> bool:
    """Whether its line is about to change: it loads, or is about to. One that is ready and answers stays as it is."""
    status = backend.status()
    return status.state == "loading" or (status.busy and status.state != "ready")


def _status(backend: Backend, polled: bool) -> None:
    """Once the page has been drawn, starts loading what is on this machine.

    Reruns the page only from a run of its own: in a run of the whole page, the question that was just sent would be lost.
    """
    in_page, session().status_in_page = session().status_in_page, False
    _draw_state(backend)
    if in_page:
        return
    _preload_once(backend)
    if polled and not _is_changing(backend):
        st.rerun()  # draws the status once more and ends the polling


def _draw_facts(backend: Backend, why: str) -> None:
    """`why`: the reason that it is the default, "" where it is not."""
    st.markdown(f"**{escape(backend.name)}**")
    note = f":orange[:material/info: {escape(backend.note)}]" if backend.note else ""
    st.caption("  \n".join(filter(None, (note, why, backend.describe()))))
    st.caption(message(badges.status_text(backend)))
    badges.draw_last(backend)
    draw_loaded(besides=session().model)


def draw_loaded(besides: str | None = None) -> None:
    """The models that are loaded or were added, and the memory of the app. `besides`: key of one that is left out."""
    lines = []
    for entry in workspace().registry.entries():
        line = badges.status_line(entry)
        if entry.key != besides and (entry.added or line.lower().startswith("ready")):
            lines.append(f"**{escape(entry.label)}**  \n{message(line)}")
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    loaded = len(workspace().pool.loaded())
    st.caption(f"App memory {describe_bytes(used)} of {describe_bytes(total)} · models loaded: {loaded}")
    if lines:
        st.caption("\n\n".join(lines))
    if besides is not None:
        st.caption("Add, check and remove models on the Backends page.")


def _draw_state(backend: Backend) -> None:
    """In one line."""
    status = backend.status()
    with st.container(key="model_state"):
        if status.state == "loading":
            st.progress(status.fraction or 0.0, text=f":material/hourglass_top: {escape(status.text)}…")
        elif status.state == "failed":
            show_error(status.text)
            st.button("Try again", on_click=backend.retry, key="retry_load")
        elif status.state == "ready":
            st.caption(":green[:material/check_circle: **Ready**]" + _verdict(backend))
        elif status.state == "remote":
            st.caption(f":material/cloud: {message(status.text)}" + _verdict(backend))
        else:
            st.caption(f":material/hourglass_empty: {message(status.text)}")


def _verdict(backend: Backend) -> str:
    stored = workspace().verdicts.last(backend)
    return f" · {badges.in_text(stored.verdict)}" if stored is not None else ""


def draw_chip(backend: Backend) -> None:
    """The model, on the page itself: it is seen where the sidebar is folded."""
    with st.container(key="model_chip"):
        state_text = STATES.get(backend.status().state, "Not loaded yet")
        st.caption(f":material/neurology: {escape(backend.name)} · {state_text}")


def _preload_once(backend: Backend) -> None:
    """Once a session for each model, and not in the first drawing, which torch would slow down. Two tabs with two models
    that do not fit together must not unload each other's again and again."""
    if backend.status().state == "not loaded" and backend.name not in session().preloaded:
        session().preloaded |= {backend.name}
        backend.preload()

"""Converting a checkpoint for llama.cpp: the form, and the conversions that run or have ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

import streamlit as st

from smolvlm_core.backends.base import Entry
from smolvlm_core.backends.llama_cpp import GgufEntry
from smolvlm_core.llamacpp.build import PREFIX, Checkpoint, build
from smolvlm_core.paths import BUNDLED_CHECKPOINT, data_folder
from smolvlm_core.work.report import Report
from smolvlm_core.workspace import Workspace
from ui import state
from ui.backends.add import path_of
from ui.state import workspace
from ui.text import escape, message, show_error

QUANTIZATIONS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]


@dataclass(frozen=True)
class Converted:
    """Titles of the new backends, and what is wrong or was repaired."""

    titles: tuple[str, ...]
    notes: tuple[str, ...]


def draw_form() -> None:
    with st.form("convert", border=False):
        st.text_input("Checkpoint folder", str(BUNDLED_CHECKPOINT), key="convert_folder")
        st.multiselect(
            "Quantized versions",
            QUANTIZATIONS,
            key="convert_quantize",
            help="Smaller text models, saved beside the F16 one. The check shows how well they still see. All but Q8_0 need "
            "llama-quantize, which is part of a native build of llama.cpp.",
        )
        st.segmented_control("Projector", ["F16", "Q8_0"], default="F16", required=True, key="convert_projector")
        st.text_input("Save to", key="convert_out", placeholder=str(data_folder() / "gguf"))
        st.form_submit_button("Convert", icon=":material/transform:", on_click=state.for_admins(_begin))


def _begin() -> None:
    folder = path_of(st.session_state["convert_folder"])
    checkpoint = Checkpoint(folder, folder.resolve().name)
    out = st.session_state["convert_out"].strip()
    quantizations = list(st.session_state["convert_quantize"])
    projector_type = st.session_state["convert_projector"].lower()
    shared = workspace()

    def work(report: Report, cancel: threading.Event) -> Converted:
        result = build(
            checkpoint,
            path_of(out) if out else checkpoint.default_output,
            quantizations=quantizations,
            projector_type=projector_type,
            report=report,
            register=lambda text, projector: shared.registry.add(GgufEntry.of_files(text, projector)),
            check=partial(_check, shared),
            cancel=cancel,
        )
        return Converted(tuple(entry.title for entry in result.registered), tuple(result.notes))

    shared.jobs.start(f"{PREFIX}{folder}", work)


def _check(shared: Workspace, entry: Entry) -> None:
    """In a job of its own, so that the conversion ends. Its server is stopped afterwards."""
    shared.checks.begin(entry.make(shared.pool), close=True)


def draw_jobs() -> None:
    """Conversions, until dismissed. Updates itself only while one runs."""
    polled = workspace().jobs.is_running(PREFIX)
    st.fragment(_jobs, run_every=0.5 if polled else None)(polled)


def _jobs(polled: bool) -> None:
    jobs = workspace().jobs
    for job in jobs.with_prefix(PREFIX):
        folder = job.name.removeprefix(PREFIX)
        if not job.done:
            st.progress(job.fraction or 0.0, text=message(f"{folder}: {job.text}"))
            continue
        if (problem := job.problem) is not None:
            show_error(f"{folder}: {problem}")
        else:
            converted: Converted = job.result
            st.success(f"Converted and added: {escape(', '.join(converted.titles))}", icon=":material/check:")
            for note in converted.notes:
                st.caption(message(note))
        st.button(
            "Dismiss",
            key=f"dismiss_{job.name}",
            on_click=state.for_admins(partial(jobs.drop, job.name)),
            type="tertiary",
        )
    if polled and not jobs.is_running(PREFIX):
        st.rerun()

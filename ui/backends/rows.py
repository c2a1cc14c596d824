"""The rows of the Backends page: each backend's state, check and removal; conversions as they go on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

import streamlit as st

from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.registry import Added
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import CONDITIONS, Verdict
from smolvlm_core.errors import LensError
from smolvlm_core.models.load import POOL
from smolvlm_core.work import job as jobs
from ui import state
from ui.backends import checks, evidence
from ui.backends import summary as backend_list
from ui.text import escape, message, show_error

SUBJECTS = {"shapes": "Shapes", "text": "Digits and words", "clips": "Clips"}


@dataclass(frozen=True)
class Converted:
    """What a conversion made; `told`: what is wrong with it and what was mended."""

    titles: tuple[str, ...]
    told: tuple[str, ...]


def draw() -> None:
    """Drawn again by itself only while a check or a conversion runs."""
    polled = _is_changing()
    st.fragment(_rows, run_every=1.0 if polled else None)(polled)


def _is_changing() -> bool:
    return any(not job.done for prefix in ("check ", "convert ") for job in jobs.named(prefix))


def _rows(polled: bool) -> None:
    known = [TransformersBackend(handle.spec, handle.dtype) for handle in POOL.loaded()]
    loaded = {backend.spec.key for backend in known}
    known += [TransformersBackend(spec) for spec in backend_list.checkpoints() if spec.key not in loaded]
    for own in known:
        _row(f"{own.spec.key} {own.dtype}", own.name, "in this app", own, None)
    for entry in backend_list.entries():
        try:
            backend = registry.of_entry(entry).backend
        except LensError as error:
            _broken(entry, error)
            continue
        _row(entry.key, entry.title, backend_list.kind_told(entry), backend, entry)
    if polled and not _is_changing():
        st.rerun()


def _row(key: str, title: str, kind: str, backend: Backend, entry: Added | None) -> None:
    with st.container(border=True, key=f"row_{key.split(':')[0]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"):
        name, actions = st.columns([3, 2], vertical_alignment="center")
        name.markdown(f"**{escape(title)}**  \n:gray[{kind} · {escape(backend_list.state_told(backend))}]")
        job = checks.job_of(backend)
        with actions, st.container(horizontal=True, horizontal_alignment="right"):
            st.button(
                "Check",
                key=f"check_{key}",
                icon=":material/visibility:",
                disabled=job is not None and not job.done,
                help="Does it see? Questions about fresh drawings, with known answers.",
                on_click=checks.begin,
                args=(backend,),
            )
            if job is not None and not job.done:
                st.button("Stop the check", key=f"halt_{key}", type="tertiary", on_click=checks.stop, args=(backend,))
            if isinstance(backend, LlamaCppBackend) and backend.handle.state == "ready":
                st.button(
                    "Stop",
                    key=f"stop_{key}",
                    icon=":material/stop:",
                    on_click=_stop,
                    args=(backend,),
                    help="Ends llama-server",
                )
            if entry is not None:
                st.button(
                    "Remove",
                    key=f"remove_{key}",
                    icon=":material/delete:",
                    help="From this list; files are kept",
                    on_click=_remove,
                    args=(entry, backend),
                )
        if job is not None:
            _verdict(key, backend, job)
        else:
            backend_list.badge(backend)


def _broken(entry: Added, error: LensError) -> None:
    with st.container(border=True):
        st.markdown(f"**{escape(entry.title)}**")
        show_error(error)
        st.button("Remove", key=f"remove_{entry.key}", icon=":material/delete:", on_click=_remove, args=(entry, None))


def _verdict(key: str, backend: Backend, job: jobs.Job) -> None:
    if not job.done:
        st.caption(f":material/hourglass_top: {message(job.text)}")
        return
    if (problem := job.problem) is not None:
        show_error(problem)
        return
    found: Verdict = job.result
    if found.verdict == "unchecked" and not found.cause:  # it was stopped
        backend_list.badge(backend)
        return
    backend_list.draw_badge(found.verdict)
    lines = [message(found.cause), message(found.mend)]
    for subject in found.subjects:
        counts = {name: found.accuracy(name, subject) for name in CONDITIONS}
        told = ", ".join(f"{name} {right} of {asked}" for name, (right, asked) in counts.items() if asked)
        chance = f"as many by guessing once in {1 / found.subjects[subject].chance:,.0f}"
        lines.append(f"**{SUBJECTS[subject]}**: right with {told}; {chance}.")
    if found.subjects:
        lines.append(f"{found.confidence:.1%} sure, {len(found.asked)} questions, {found.seconds:.1f} s.")
    st.caption("  \n".join(filter(None, lines)))
    if found.asked and st.toggle("What it was asked", key=f"evidence_{key}"):
        evidence.draw(found)


def _stop(backend: LlamaCppBackend) -> None:
    backend.close()


def _remove(entry: Added, backend: Backend | None) -> None:
    try:
        registry.forget(entry.key)
    except LensError as error:
        state.notify(error)
        return
    if backend is not None:
        checks.forget(backend)
    if isinstance(backend, LlamaCppBackend):
        backend.close()


def conversions() -> None:
    """Conversions of this app, running and finished, until dismissed."""
    polled = any(not job.done for job in jobs.named("convert "))
    st.fragment(_conversions, run_every=0.5 if polled else None)(polled)


def _conversions(polled: bool) -> None:
    for job in jobs.named("convert "):
        folder = job.name.removeprefix("convert ")
        if not job.done:
            st.progress(job.fraction or 0.0, text=message(f"{folder}: {job.text}"))
            continue
        if (problem := job.problem) is not None:
            show_error(f"{folder}: {problem}")
        else:
            made: Converted = job.result
            st.success(f"Converted and added: {escape(', '.join(made.titles))}", icon=":material/check:")
            for line in made.told:
                st.caption(message(line))
        st.button("Dismiss", key=f"dismiss_{job.name}", on_click=partial(jobs.drop, job.name), type="tertiary")
    if polled and all(job.done for job in jobs.named("convert ")):
        st.rerun()

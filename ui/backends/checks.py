"""Vision checks in the background: begun by a button or by a backend's first answer, followed on any page."""

from __future__ import annotations

import os
import threading

import streamlit as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.check import Verdict, check, verdicts
from smolvlm_core.conversations.answering import Answer
from smolvlm_core.work import job as jobs
from smolvlm_core.work.device_lock import HERE, device_of, turn
from ui.text import message


def job_of(backend: Backend) -> jobs.Job | None:
    return jobs.find(_name(backend))


def begin(backend: Backend, *, close: bool = False) -> None:
    """A whole check, for who asked for one. `close`: what it has to start is stopped afterwards."""
    _begin(backend, None, short=False, close=close)


def begin_on_first_use(backend: Backend, answer: Answer | None = None) -> None:
    """Of a backend on this machine that was never checked: on pictures only, once it has given its answer.
    `SMOLVLM_LENS_CHECK=off` keeps such checks from being made; a server elsewhere, which may cost money, is not asked."""
    if os.environ.get("SMOLVLM_LENS_CHECK", "") == "off":
        return
    if (job := job_of(backend)) is not None and not (job.done and job.problem is None and not job.result.asked):
        return  # it goes on, or was tried
    if device_of(backend) == HERE and verdicts.is_due(backend):
        _begin(backend, answer, short=True)


def stop(backend: Backend) -> None:
    if (job := job_of(backend)) is not None:
        job.cancel.set()


def forget(backend: Backend) -> None:
    jobs.drop(_name(backend))


def _name(backend: Backend) -> str:
    return f"check {verdicts.identity(backend)}"


def _begin(backend: Backend, after: Answer | None, *, short: bool, close: bool = False) -> None:
    def work(report: jobs.Report, cancel: threading.Event) -> Verdict:
        if after is not None:
            report("Waiting for the answer", None)
            after.wait()
            if not after.is_whole:
                return Verdict("unchecked")
        with turn(device_of(backend), cancel, lambda: report("Waiting for another check or comparison", None)) as mine:
            if not mine:
                return Verdict("unchecked")
            found = check(backend, lambda _, text: report(text, None), cancel, subjects=("shapes",) if short else None)
            if close:
                backend.close()
        verdicts.keep(backend, found)
        return found

    jobs.start(_name(backend), work)


def draw_progress(backend: Backend) -> None:
    """Above a chat: that a check goes on, until it has ended; then the page is drawn again with its verdict."""
    job = job_of(backend)
    if job is None:
        return
    if not job.done:
        _follow(backend, job)
    elif job.problem is None and job.result.verdict == "unchecked" and job.result.cause:
        st.caption(f":material/help: Whether it sees could not be checked: {message(job.result.cause)}")


@st.fragment(run_every=1.0)
def _follow(backend: Backend, job: jobs.Job) -> None:
    if job.done:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f":material/visibility: Checking whether it sees. {message(job.text)}")
        st.button("Skip", key="skip_check", type="tertiary", on_click=stop, args=(backend,))

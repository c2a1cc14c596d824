"""A vision check that runs, above a chat."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.work.job import Job
from ui.state import workspace
from ui.text import message


def draw(backend: Backend) -> None:
    """Until the check ends; then the page is drawn again with its verdict."""
    job = workspace().checks.job_of(backend)
    if job is None:
        return
    if not job.done:
        _follow(backend, job)
    elif job.problem is None and job.result.verdict == "unchecked" and job.result.cause:
        st.caption(f":material/help: The vision check could not be completed: {message(job.result.cause)}")


@st.fragment(run_every=1.0)
def _follow(backend: Backend, job: Job) -> None:
    if job.done:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f":material/visibility: Checking whether the model sees. {message(job.text)}")
        stop = workspace().checks.stop
        st.button("Skip", key="skip_check", type="tertiary", on_click=stop, args=(backend,))

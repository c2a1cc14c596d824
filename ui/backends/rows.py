"""The rows of the Backends page: each backend's state, check and removal."""

from __future__ import annotations

import hashlib

import streamlit as st

from smolvlm_core.backends.base import Backend, Entry, SelfTest
from smolvlm_core.backends.self_tests import PREFIX as SELF_TESTS
from smolvlm_core.check import CONDITIONS, Verdict
from smolvlm_core.check.schedule import PREFIX as CHECKS
from smolvlm_core.check.statistics import one_in
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.build import PREFIX as CONVERSIONS
from smolvlm_core.work.job import Job
from ui import state
from ui.backends import badges, evidence
from ui.state import workspace
from ui.text import escape, message, show_error

SUBJECTS = {"shapes": "Shapes", "text": "Digits and words", "clips": "Clips"}


def draw() -> None:
    """Updates itself only while a check or a conversion runs."""
    polled = _is_changing()
    st.fragment(_rows, run_every=1.0 if polled else None)(polled)


def _is_changing() -> bool:
    return workspace().jobs.is_running(CHECKS, CONVERSIONS, SELF_TESTS)


def _rows(polled: bool) -> None:
    badges.draw_problem()
    for entry in workspace().registry.entries():
        if not entry.is_on_this_machine:
            continue
        for precision in entry.precisions or ("",):
            if not _row_of(entry, precision):
                break
    if polled and not _is_changing():
        st.rerun()


def _row_of(entry: Entry, precision: str) -> bool:
    """Draw the row of one precision. False where the entry cannot be used: it then has one row."""
    try:
        backend = entry.make(workspace().pool, precision)
    except LensError as error:
        _broken(entry, error)
        return False
    is_main = precision in ("", *entry.precisions[:1])
    if is_main or backend.status().state != "not loaded":  # other precisions have a row once they are loaded
        _row(f"{entry.key} {precision}".strip(), entry, backend, entry.self_test if is_main else None)
    return True


def _row(key: str, entry: Entry, backend: Backend, test: SelfTest | None) -> None:
    """`test`: of the precision that the self-test is about."""
    with st.container(border=True, key=f"row_{key.split(':')[0]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"):
        name, actions = st.columns([3, 2], vertical_alignment="center")
        title = backend.name if entry.precisions else entry.label
        source = "" if entry.added or entry.precisions else "found on this machine · "
        name.markdown(f"**{escape(title)}**  \n:gray[{source}{escape(badges.status_text(backend))}]")
        job = workspace().checks.job_of(backend)
        with actions, st.container(horizontal=True, horizontal_alignment="right"):
            _actions(key, entry, backend, job, test)
        _encoders(key, backend)
        if test is not None and (line := workspace().self_tests.describe(entry, test)):
            st.caption(message(line))
        if job is not None:
            _verdict(key, backend, job)
        else:
            badges.draw_last(backend)


def _encoders(key: str, backend: Backend) -> None:
    names = backend.vision_encoders()
    if not names or not state.is_admin():
        return
    widget, wanted = f"encoder_{key}", backend.wanted_encoder
    st.selectbox(
        "Vision encoder",
        names,
        names.index(wanted) if wanted in names else 0,
        key=widget,
        width=280,
        format_func=lambda name: name[0].upper() + name[1:],
        on_change=state.for_admins(_want_encoder),
        args=(backend, widget),
        help="Automatic takes the fastest one on this machine whose features agree with torch's. int8 is faster and less exact.",
    )


def _want_encoder(backend: Backend, widget: str) -> None:
    try:
        backend.want_encoder(st.session_state[widget])
    except LensError as error:
        state.notify(error)


def _actions(key: str, entry: Entry, backend: Backend, job: Job | None, test: SelfTest | None) -> None:
    checks, running = workspace().checks, job is not None and not job.done
    st.button(
        "Check",
        key=f"check_{key}",
        icon=":material/visibility:",
        disabled=running,
        help="Does it see? The check shows it newly drawn images and asks questions with known answers.",
        on_click=_begin_check,
        args=(backend,),
    )
    if test is not None:
        testing = workspace().self_tests.job_of(entry)
        st.button(
            "Self-test",
            key=f"self_test_{key}",
            icon=":material/speed:",
            disabled=testing is not None and not testing.done,
            help="Does it answer like transformers, and sooner? If so, it becomes the default for this model.",
            on_click=_begin_self_test,
            args=(entry, test),
        )
    if running:
        st.button("Stop the check", key=f"halt_{key}", type="tertiary", on_click=checks.stop, args=(backend,))
    if not state.is_admin():
        return
    if backend.status().state == "ready":
        st.button(
            "Unload",
            key=f"unload_{key}",
            icon=":material/eject:",
            disabled=running or backend.status().busy,
            on_click=state.for_admins(backend.close),
            help="Releases its memory. A llama-server is stopped.",
        )
    if entry.added:
        st.button(
            "Remove",
            key=f"remove_{key}",
            icon=":material/delete:",
            help="Removes it from this list. Its files stay.",
            on_click=state.for_admins(_remove),
            args=(entry, backend),
        )


def _begin_check(backend: Backend) -> None:
    workspace().checks.begin(backend)


def _begin_self_test(entry: Entry, test: SelfTest) -> None:
    workspace().self_tests.begin(entry, test)


def _broken(entry: Entry, error: LensError) -> None:
    with st.container(border=True):
        st.markdown(f"**{escape(entry.title)}**")
        show_error(error)
        if state.is_admin():
            st.button(
                "Remove",
                key=f"remove_{entry.key}",
                icon=":material/delete:",
                on_click=state.for_admins(_remove),
                args=(entry, None),
            )


def _verdict(key: str, backend: Backend, job: Job) -> None:
    if not job.done:
        st.caption(f":material/hourglass_top: {message(job.text)}")
        return
    if (problem := job.problem) is not None:
        show_error(problem)
        return
    verdict: Verdict = job.result
    if verdict.verdict == "unchecked" and not verdict.cause:  # it was stopped
        badges.draw_last(backend)
        return
    badges.draw(verdict.verdict)
    st.caption("  \n".join(_lines(verdict)))
    if verdict.asked and st.toggle("Show questions", key=f"evidence_{key}"):
        evidence.draw(verdict)


def _lines(verdict: Verdict) -> list[str]:
    lines = [message(verdict.cause), message(verdict.fix)]
    for subject, finding in verdict.subjects.items():
        counts = {name: verdict.accuracy(name, subject) for name in CONDITIONS}
        correct = ", ".join(f"{right}/{asked} with {name}" for name, (right, asked) in counts.items() if asked)
        chance = f"chance of this by guessing: {one_in(finding.chance)}"
        lines.append(f"**{SUBJECTS[subject]}**: correct {correct}; {chance}.")
    if verdict.subjects:
        lines.append(f"{verdict.confidence:.1%} sure, {len(verdict.asked)} questions, {verdict.seconds:.1f} s.")
    return [line for line in lines if line]


def _remove(entry: Entry, backend: Backend | None) -> None:
    try:
        workspace().registry.remove(entry.key)
    except LensError as error:
        state.notify(error)
        return
    if backend is not None:
        workspace().checks.forget(backend)

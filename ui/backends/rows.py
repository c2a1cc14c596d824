"""The rows of the Backends page: each backend's state, check and removal."""

from __future__ import annotations

import hashlib

import streamlit as st

from smolvlm_core.backends.base import Backend, Entry, SelfTest
from smolvlm_core.backends.self_tests import PREFIX as SELF_TESTS
from smolvlm_core.check import Verdict, words
from smolvlm_core.check.schedule import PREFIX as CHECKS
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.build import PREFIX as CONVERSIONS
from smolvlm_core.work.job import Job
from ui import forms, state
from ui.backends import badges, evidence
from ui.state import workspace
from ui.text import escape, message, show_error


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
    if polled != _is_changing():  # a check that a button here began, or the last one ended
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
    job = workspace().checks.job_of(backend)
    running = job is not None and not job.done
    with st.container(border=True, key=f"row_{key.split(':')[0]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"):
        name, actions = st.columns([3, 2], vertical_alignment="top")
        title = backend.name if entry.precisions else entry.label
        source = "" if entry.added or entry.precisions else "Found on this machine · "
        name.markdown(f"**{escape(title)}**  \n:gray[{source}{escape(badges.status_text(backend))}]")
        with actions, st.container(horizontal=True, horizontal_alignment="right"):
            _check_button(key, backend, running)
            _more(key, entry, backend, test, running)
        forms.draw_problems(f"row {key}")
        if test is not None and (line := workspace().self_tests.describe(entry, test)):
            st.caption(message(line))
        _check(key, backend, job)


def _check_button(key: str, backend: Backend, running: bool) -> None:
    st.button(
        "Check",
        key=f"check_{key}",
        icon=":material/visibility:",
        disabled=running,
        help="Does it see? The check shows it newly drawn images and asks questions with known answers.",
        on_click=_begin_check,
        args=(backend,),
    )


def _more(key: str, entry: Entry, backend: Backend, test: SelfTest | None, running: bool) -> None:
    """What is seldom needed. No menu where it would be empty."""
    admin, status = state.is_admin(), backend.status()
    encoders = backend.vision_encoders() if admin else ()
    may_unload, may_remove = admin and status.state == "ready", admin and entry.added
    if not (encoders or test is not None or may_unload or may_remove):
        return
    with st.popover("More", icon=":material/more_horiz:"):
        if encoders:
            _encoders(key, backend, encoders)
        if test is not None:
            _self_test(key, entry, test)
        if may_unload:
            st.button(
                "Unload",
                key=f"unload_{key}",
                icon=":material/eject:",
                disabled=running or status.busy,
                on_click=state.for_admins(backend.close),
                help="Releases its memory. A llama-server is stopped.",
            )
        if may_remove:
            st.button(
                "Remove",
                key=f"remove_{key}",
                icon=":material/delete:",
                help="Removes it from this list, with its verdict. Its files stay.",
                on_click=state.for_admins(_remove),
                args=(key, entry, backend),
            )


def _self_test(key: str, entry: Entry, test: SelfTest) -> None:
    testing = workspace().self_tests.job_of(entry)
    st.button(
        "Self-test",
        key=f"self_test_{key}",
        icon=":material/speed:",
        disabled=testing is not None and not testing.done,
        help="Does it answer like transformers, and faster? If so, it becomes the default for this model.",
        on_click=_begin_self_test,
        args=(entry, test),
    )


def _encoders(key: str, backend: Backend, names: tuple[str, ...]) -> None:
    widget, wanted = f"encoder_{key}", backend.wanted_encoder
    st.selectbox(
        "Vision encoder",
        names,
        names.index(wanted) if wanted in names else 0,
        key=widget,
        width=280,
        format_func=lambda name: name[0].upper() + name[1:],
        on_change=state.for_admins(_want_encoder),
        args=(key, backend, widget),
        help="Automatic takes the fastest one on this machine whose features agree with torch's. int8 is faster and less exact.",
    )


def _want_encoder(key: str, backend: Backend, widget: str) -> None:
    forms.pressed(f"row {key}")
    try:
        backend.want_encoder(st.session_state[widget])
    except LensError as error:
        forms.refuse(f"row {key}", error)


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
                args=(entry.key, entry, None),
            )
        forms.draw_problems(f"row {entry.key}")


def _check(key: str, backend: Backend, job: Job | None) -> None:
    """Of a check: its progress, why it failed, or its verdict. Without one in this process, the last verdict that was stored."""
    if job is not None and not job.done:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f":material/hourglass_top: {message(job.text)}")
            st.button("Stop", key=f"halt_{key}", type="tertiary", on_click=workspace().checks.stop, args=(backend,))
        return
    if job is not None and (problem := job.problem) is not None:
        show_error(problem)
        return
    verdict: Verdict | None = job.result if job is not None else None
    if verdict is not None and verdict.verdict == "unchecked":
        if verdict.cause:
            badges.draw(verdict.verdict)
            st.caption("  \n".join(_lines(verdict)))
            return
        verdict = None  # it was stopped: the last verdict holds
    _last_check(key, backend, verdict)


def _last_check(key: str, backend: Backend, verdict: Verdict | None) -> None:
    """`verdict`: of this process; otherwise the one that is stored."""
    stored = workspace().verdicts.last(backend)
    verdict = verdict or workspace().verdicts.check_of(backend)
    if stored is not None:
        badges.draw_last(backend)
    elif verdict is not None:  # it could not be stored
        badges.draw(verdict.verdict)
    if verdict is not None:
        st.caption("  \n".join(_lines(verdict)))
        if verdict.asked and st.toggle("Show questions", key=f"evidence_{key}"):
            evidence.draw(verdict)
    elif stored is not None and (why := [line for line in (message(stored.cause), message(stored.fix)) if line]):
        st.caption("  \n".join(why))


def _lines(verdict: Verdict) -> list[str]:
    lines = [message(verdict.cause), message(verdict.fix)]
    for subject, result in verdict.subjects.items():
        lines.append(
            f"**{words.SUBJECTS[subject]}** · {words.correct(verdict, subject)} · {words.chance(result.chance).capitalize()}"
        )
    if verdict.subjects:
        lines.append(words.effort(verdict).capitalize())
    return [line for line in lines if line]


def _remove(key: str, entry: Entry, backend: Backend | None) -> None:
    forms.pressed(f"row {key}")
    try:
        workspace().registry.remove(entry.key)
    except LensError as error:
        forms.refuse(f"row {key}", error)
        return
    if backend is not None:
        workspace().checks.forget(backend)

"""Finding moments of a clip: the question, its budget, the search while it runs, the curve and its moments."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.conversations.clip_frames import StoredClip
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.moments.curve import Curve
from smolvlm_core.timeline.moments.jobs import Search
from smolvlm_core.timeline.moments.plan import plan_for
from smolvlm_core.timeline.moments.wording import Wording, wording_of
from ui import forms
from ui.chat.choice import Choice
from ui.chat.starters import knows_shapes_only
from ui.state import session, workspace
from ui.text import escape, message, show_error

POLL_SECONDS = 0.7
FORM = "moments"
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"moments.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("clip_moments", html=_html, css=_css, js=_js)


def draw(clip: StoredClip, choice: Choice) -> None:
    """Under the player of a clip that is stored."""
    with st.container(key="moments", gap="small"):
        _draw_question(clip, choice)
        search = workspace().moments.search_of(clip.sha256)
        polled = search is not None and search.is_running
        st.fragment(_follow, run_every=POLL_SECONDS if polled else None)(clip, polled)


def _draw_question(clip: StoredClip, choice: Choice) -> None:
    example = "the red circle appear" if knows_shapes_only(choice.backend.spec) else "someone come into view"
    key = f"moments_question_{clip.sha256}"
    questions = session().timeline.moments
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        questions[clip.sha256] = st.text_input(
            "Find moments",
            questions.get(clip.sha256, ""),
            key=key,
            placeholder=f"When does {example}?",
            help="When does something appear, disappear, turn red, change color or change direction? Or any question with the "
            "answer yes or no: the curve shows how likely yes is over the clip.",
        )
        search = workspace().moments.search_of(clip.sha256)
        st.button(
            "Find",
            icon=":material/timeline:",
            key="moments_find",
            disabled=search is not None and search.is_running,
            on_click=_begin,
            args=(clip, choice, key),
        )
    if not _is_answered(clip, questions[clip.sha256]):
        _draw_budget(clip, questions[clip.sha256])


def _is_answered(clip: StoredClip, typed: str) -> bool:
    """Whether the curve that is shown belongs to this question. Then its cost is no news."""
    search = workspace().moments.search_of(clip.sha256)
    return search is not None and search.wording.typed == typed.strip() and search.problem is None


def _draw_budget(clip: StoredClip, typed: str) -> None:
    try:
        wording = wording_of(typed) if typed.strip() else Wording(typed="", asked="")
    except LensError:
        return  # said once the button is pressed
    asked = f"Asked of the frames: “{escape(wording.asked)}” " if wording.asked else ""
    st.caption(f"{asked}{plan_for(clip.facts, wording).describe()}")


def _begin(clip: StoredClip, choice: Choice, key: str) -> None:
    forms.pressed(FORM)
    try:
        wording = wording_of(str(st.session_state.get(key, "")))
        source = workspace().store.media.path(clip.sha256)
        plan = plan_for(clip.facts, wording)
        workspace().moments.begin(clip.sha256, source, clip.facts, wording, choice.backend, plan)
        session().timeline.curve.pop(clip.sha256, None)
    except LensError as error:
        forms.refuse(FORM, error)


def _follow(clip: StoredClip, polled: bool) -> None:
    search = workspace().moments.search_of(clip.sha256)
    running = search is not None and search.is_running
    if running != polled:
        st.rerun()  # begins or ends the polling
    forms.draw_problems(FORM)
    if search is not None and running:
        _draw_running(search)
        if search.curve is not None:
            _draw_curve(clip, search.curve)
        return
    if search is not None and search.problem is not None:
        show_error(search.problem)
    _draw_kept(clip, search)


def _draw_running(search: Search) -> None:
    st.progress(search.job.fraction or 0.0, text=message(search.job.text))
    if search.was_stopped:
        st.caption(":material/hourglass_top: Stopping…")
    else:
        st.button("Stop", icon=":material/stop:", key="moments_stop", on_click=search.stop)


def _draw_kept(clip: StoredClip, search: Search | None) -> None:
    """One of the curves of the clip: the one that was chosen, or the newest."""
    curves = workspace().moments.curves(clip.sha256)
    if search is not None and search.curve is not None and not search.curve.complete:
        curves = [search.curve, *(c for c in curves if c.typed != search.curve.typed)]
    if not curves:
        return
    chosen = session().timeline.curve.get(clip.sha256)
    shown = next((curve for curve in curves if curve.typed == chosen), curves[0])
    if len(curves) > 1:
        typed: Any = st.selectbox(
            "Questions asked",
            [curve.typed for curve in curves],
            [curve.typed for curve in curves].index(shown.typed),
            key=f"moments_curve_{clip.sha256}_{len(curves)}_{curves[0].created}",
            label_visibility="collapsed",
        )
        session().timeline.curve[clip.sha256] = typed
        shown = next(curve for curve in curves if curve.typed == typed)
    _draw_curve(clip, shown)
    st.button(
        "Remove",
        icon=":material/delete:",
        type="tertiary",
        key="moments_remove",
        help=f"Forget the curve of “{escape(shown.typed)}”",
        on_click=partial(_remove, clip, shown),
    )


def _remove(clip: StoredClip, curve: Curve) -> None:
    try:
        search = workspace().moments.search_of(clip.sha256)
        if curve.complete:
            workspace().moments.forget(clip.sha256, curve.typed)
        elif search is not None:
            search.curve = None  # of a stopped search: it is not kept
        session().timeline.curve.pop(clip.sha256, None)
    except LensError as error:
        forms.refuse(FORM, error)


def _draw_curve(clip: StoredClip, curve: Curve) -> None:
    so_far = "" if curve.complete else " · so far"
    _component(
        key=f"moments_plot_{clip.sha256}",
        data={
            "summary": f"{curve.asked} · {curve.model}{so_far}",
            "found": curve.describe(),
            "axis": "probability of the answer" if curve.answers else "probability of yes",
            "duration": curve.duration_seconds,
            "times": [round(time, 3) for time in curve.times],
            "probabilities": [None if p is None else round(p, 4) for p in curve.probabilities],
            "moments": [
                {
                    "seconds": moment.seconds,
                    "until": moment.until_seconds,
                    "text": moment.text,
                    "probability": moment.probability,
                }
                for moment in curve.moments
            ],
            "notes": _sentences(curve),
        },
    )


def _sentences(curve: Curve) -> list[str]:
    """The notes, and that nothing was found."""
    notes = [f"{note[0].upper()}{note[1:]}." for note in curve.notes if note]
    if not curve.moments and curve.complete:
        notes.insert(0, "No such moment was found.")
    return notes

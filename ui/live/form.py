"""The form for a new session: source, question, alerts, options, and Start."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.live.alerts import Alert
from smolvlm_core.live.log import ROOM_BYTES
from smolvlm_core.live.records import MAX_ALERTS, LiveRequest
from smolvlm_core.live.sources import CameraSource
from ui import forms
from ui.chat.choice import Choice
from ui.live import presets, sources
from ui.state import session, workspace
from ui.text import escape

FORM = "live"
MINUTES = {10: "10 minutes", 60: "1 hour", 480: "8 hours"}


def draw(choice: Choice) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        sources.draw()
        _draw_pace()
    with right:
        _draw_questions(choice)
        _draw_alert_options()
    st.button("Start", type="primary", icon=":material/play_arrow:", key="live_start", on_click=_start, args=(choice,))
    forms.draw_problems(FORM)


def _draw_questions(choice: Choice) -> None:
    form, spec = session().live.form, choice.backend.spec
    if form.question is None:
        form.question = presets.questions(spec)[0]
    form.question = st.text_input(
        "Question about each frame",
        form.question,
        key=f"live_question_{form.round}",
        placeholder="Leave empty to ask for alerts only",
    )
    _draw_presets(presets.questions(spec), "question", _use_question)
    form.alerts = st.text_area(
        "Tell me when the answer is yes",
        form.alerts,
        key=f"live_alerts_{form.round}",
        placeholder="One yes-or-no question per line",
        height=88,
        help=f"Up to {MAX_ALERTS} questions. Each is asked about each frame. When the answer turns to yes, the frame is kept in a list.",
    )
    _draw_presets(presets.alerts(spec), "alert", _add_alert)


def _draw_presets(texts: tuple[str, ...], name: str, use: object) -> None:
    with st.container(horizontal=True, gap="xsmall"):
        for number, text in enumerate(texts):
            st.button(escape(text), key=f"live_preset_{name}_{number}", type="tertiary", on_click=use, args=(text,))  # type: ignore[arg-type]


def _use_question(text: str) -> None:
    form = session().live.form
    form.question = text
    form.round += 1


def _add_alert(text: str) -> None:
    form = session().live.form
    lines = [line.strip() for line in form.alerts.splitlines() if line.strip()]
    form.alerts = "\n".join([*lines, *([text] if text not in lines else [])])
    form.round += 1


def _draw_pace() -> None:
    form = session().live.form
    when = st.radio(
        "Ask about the newest frame",
        ["As soon as the last answer ends", "When the picture changes"],
        int(form.on_change),
        key=f"live_when_{form.round}",
    )
    form.on_change = when == "When the picture changes"
    if form.on_change:
        form.change_percent = st.slider(
            "Minimum change",
            0.5,
            30.0,
            form.change_percent,
            0.5,
            format="%g %%",
            key=f"live_change_{form.round}",
            help="Compared with the last frame that was asked about, on a picture of 32 × 24 cells.",
        )
    with st.expander("Options", icon=":material/tune:"):
        form.full_detail = st.toggle(
            "Full detail",
            form.full_detail,
            key=f"live_detail_{form.round}",
            help="Off: the model is given each frame as one tile, which is much faster. On: in tiles, as the pictures of a chat.",
        )
        form.max_new_tokens = int(
            st.number_input(
                "Maximum answer length (tokens)", 1, 512, form.max_new_tokens, key=f"live_tokens_{form.round}"
            )
        )
        form.minutes = st.selectbox(
            "Stop automatically after",
            list(MINUTES),
            list(MINUTES).index(form.minutes),
            key=f"live_minutes_{form.round}",
            format_func=MINUTES.__getitem__,
        )


def _draw_alert_options() -> None:
    form = session().live.form
    with st.expander("When an answer counts as an alert", icon=":material/notifications:"):
        form.reset_percent, form.rise_percent = st.slider(
            "Probability of yes",
            0,
            100,
            (form.reset_percent, form.rise_percent),
            5,
            format="%d %%",
            key=f"live_rise_{form.round}",
            help="An alert fires at the upper value, and can fire again after falling to the lower one: an answer that wavers "
            "gives one alert. Backends without log probabilities count as 0 or 100 %, by the word.",
        )
        form.quiet_seconds = int(
            st.number_input(
                "Seconds from one alert to the next, at least",
                0,
                3600,
                form.quiet_seconds,
                key=f"live_quiet_{form.round}",
            )
        )


def request_of(choice: Choice) -> LiveRequest:
    """Raises LensError."""
    form = session().live.form
    alerts = [line.strip() for line in form.alerts.splitlines() if line.strip()]
    if len(alerts) > MAX_ALERTS:
        raise LensError(f"There are {len(alerts)} alerts; {MAX_ALERTS} are allowed.", "Remove some.")
    return LiveRequest(
        entry=choice.entry.key,
        precision=session().precision if choice.entry.precisions else "",
        question=(form.question or "").strip(),
        alerts=tuple(
            Alert(
                question=question,
                rise=form.rise_percent / 100,
                reset=form.reset_percent / 100,
                quiet_seconds=form.quiet_seconds,
            )
            for question in alerts
        ),
        change=form.change_percent / 100 if form.on_change else None,
        detail="full" if form.full_detail else "fast",
        minutes=form.minutes,
        settings=replace(choice.settings, max_new_tokens=form.max_new_tokens, top_logprobs=None, json_schema=""),
    )


def _start(choice: Choice) -> None:
    forms.pressed(FORM)
    page = session().live
    try:
        source = sources.make()
        workspace().refuse_if_full(ROOM_BYTES)
        live = workspace().live.begin(request_of(choice), source)
    except LensError as error:
        forms.refuse(FORM, error)
        return
    page.token = source.token if isinstance(source, CameraSource) else ""
    page.seen, page.open = (live.identity, 0), ""
    workspace().checks.begin_on_first_use(choice.backend, live.wait_for_answer)

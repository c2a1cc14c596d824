"""A question about the whole clip: what fits the model, Answer and Stop, and the statements with their times and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.timeline.summary.records import Evidence, LeftOut, Source, Statement, Summary
from smolvlm_core.timeline.summary.run import Material
from smolvlm_core.times import Range, time_text
from ui.chat.choice import Choice
from ui.state import session, workspace
from ui.text import escape, message, show_error

POLL_SECONDS = 0.5
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"statements.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("timeline_statements", html=_html, css=_css, js=_js)
VERDICTS = {
    "supported": ("✓", "Supported by its frames"),
    "unsupported": ("✗", "Not supported by its frames"),
    "unclear": ("?", "Could not be checked"),
    "open": ("…", "Not checked yet"),
}


def draw(timeline: Timeline, choice: Choice) -> None:
    panel = st.expander(
        "Summary with times",
        icon=":material/summarize:",
        key=f"timeline_summary_{timeline.identity}",
        on_change="rerun",
    )
    if panel.open:
        polled = _is_running(timeline)
        with panel:
            st.fragment(_follow, run_every=POLL_SECONDS if polled else None)(timeline.identity, choice, polled)


def _is_running(timeline: Timeline) -> bool:
    run = workspace().summaries.run_of(timeline)
    return run is not None and run.is_running


def _follow(identity: str, choice: Choice, polled: bool) -> None:
    timeline = workspace().timelines.find(identity)
    if timeline is None:
        return
    running = _is_running(timeline)
    if running != polled:
        st.rerun()  # begins or ends the polling
    question = _draw_question(timeline, running=running)
    if not question:
        st.caption("Type a question.")
        st.button("Answer", icon=":material/play_arrow:", key="summary_start", type="primary", disabled=True)
        return
    made = workspace().summaries.material(timeline, question, choice.backend)
    run = workspace().summaries.run_of(timeline)
    if running and run is not None:
        st.progress(run.fraction or 0.0, text=message(run.describe()))
    st.caption(f":material/payments: {message(made.plan.describe())}")
    _draw_start(timeline, question, choice, made, running=running)
    if run is not None and not running and run.problem is not None:
        show_error(run.problem)
    if session().timeline.summary_problem:
        show_error(session().timeline.summary_problem)
        session().timeline.summary_problem = ""
    summary = run.summary if running and run is not None else workspace().summaries.find(timeline, question)
    if summary is not None and not running:
        _draw_state(summary, made, choice)
    _draw_statements(timeline, summary, made)


def _draw_question(timeline: Timeline, *, running: bool) -> str:
    page = session().timeline
    run = workspace().summaries.run_of(timeline)
    if running and run is not None:
        st.markdown(f"**{escape(run.question)}**")
        return run.question
    text = st.text_input(
        "Ask about the whole clip", page.question, key=f"summary_question_{page.question}", max_chars=1000
    )
    asked = text.strip()
    page.question = asked or page.question
    others = [s.question for s in workspace().summaries.all(timeline) if s.question != page.question]
    if others:
        with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
            st.caption("Answered before:", width="content")
            for number, other in enumerate(others[:8]):
                st.button(
                    escape(other),
                    key=f"summary_other_{number}",
                    type="tertiary",
                    on_click=_open,
                    args=(other,),
                    wrap=True,
                )
    return asked


def _open(question: str) -> None:
    session().timeline.question = question


def _draw_start(timeline: Timeline, question: str, choice: Choice, made: Material, *, running: bool) -> None:
    run = workspace().summaries.run_of(timeline)
    if running and run is not None:
        if run.was_stopped:
            st.caption(":material/hourglass_top: Stopping…")
        else:
            st.button("Stop", icon=":material/stop:", key="summary_stop", on_click=run.stop)
        return
    before = workspace().summaries.find(timeline, question)
    goes_on = before is not None and not before.finished and before.texts == made.texts
    label = "Go on" if goes_on else "Answer again" if before is not None else "Answer"
    precision = session().precision if choice.entry.precisions else ""
    st.button(
        label,
        icon=":material/play_arrow:",
        key="summary_start",
        type="secondary" if before is not None and not goes_on else "primary",
        disabled=not made.plan.groups,
        on_click=_start,
        args=(timeline, question, choice.entry.key, precision),
    )


def _start(timeline: Timeline, question: str, entry: str, precision: str) -> None:
    try:
        workspace().summaries.begin(timeline, question, entry, precision)
    except LensError as error:
        session().timeline.summary_problem = str(error)


def _draw_state(summary: Summary, made: Material, choice: Choice) -> None:
    if summary.texts != made.texts:
        if summary.model != choice.backend.name:
            st.caption(f"Answered by {escape(summary.model)}. “Answer again” asks {escape(choice.backend.name)}.")
        else:
            st.warning(
                "The descriptions were changed after this was made. “Answer again” uses them as they are now.",
                icon=":material/edit_note:",
            )
    st.markdown(f"**{escape(summary.describe())}**")
    said = [summary.why, summary.reliability]
    st.caption(" ".join(message(text) for text in said if text))


def _draw_statements(timeline: Timeline, summary: Summary | None, made: Material) -> None:
    parts = [_part(left) for left in made.plan.left_out]
    if summary is not None and summary.unmentioned:
        parts.insert(0, {"text": "No statement is about these segments", "times": _times(summary.unmentioned)})
    found = summary.statements if summary is not None else ()
    if found or parts:
        data = {"statements": [_statement(statement) for statement in found], "parts": parts}
        _component(key=f"timeline_statements_{timeline.identity}", data=data)


def _statement(statement: Statement) -> dict[str, Any]:
    icon, words = VERDICTS[statement.verdict]
    return {
        "text": statement.text,
        "verdict": statement.verdict,
        "icon": icon,
        "words": words,
        "edited": statement.edited,
        "times": [_time(span) for span in statement.ranges],
        "notes": list(statement.notes),
        "evidence": [_evidence(evidence) for evidence in statement.evidence],
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    likely = f" (probability of yes: {evidence.p_yes:.0%})" if evidence.p_yes is not None else ""
    return {
        "text": f"{evidence.question} → {evidence.answer}{likely}",
        "times": [{"start": seconds, "label": time_text(round(seconds, 2))} for seconds in evidence.seconds],
    }


def _part(left: LeftOut) -> dict[str, Any]:
    return {"text": f"Left out: {left.reason}", "times": [_time((left.start_seconds, left.end_seconds))]}


def _times(sources: Sequence[Source]) -> list[dict[str, Any]]:
    return [_time(span) for span in Statement(text="", sources=tuple(sources)).ranges]


def _time(span: Range) -> dict[str, Any]:
    return {"start": span[0], "label": " – ".join(time_text(round(seconds, 1)) for seconds in span)}

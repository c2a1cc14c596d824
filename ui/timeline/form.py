"""The form for a new timeline: what to ask of each segment, how to cut the clip, what it costs at most, and Start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.conversations.clip_frames import StoredClip
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import check_text
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.records import MAX_COLUMNS, MAX_FRAMES, Clip, Cut, Request, Timeline
from ui.chat.choice import Choice
from ui.state import session, workspace
from ui.text import escape, message, show_error
from ui.timeline import cost, wording

MODES = {"scenes": "Scene changes", "fixed": "Fixed intervals"}


def draw(clip: StoredClip, choice: Choice) -> None:
    prompt = _draw_prompt(choice)
    questions = _draw_questions(choice)
    cut = _draw_cut()
    problem = _problem(prompt, questions) or (cut if isinstance(cut, str) else "")
    fits = not problem and isinstance(cut, Cut) and _draw_cost(clip, choice, cut, (prompt, *questions))
    if problem:
        show_error(problem)
    running = workspace().timelines.running
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Start",
            type="primary",
            icon=":material/play_arrow:",
            key="timeline_start",
            disabled=bool(problem) or not fits or running is not None,
        )
        if running is not None:
            st.caption("One timeline is made at a time.")
    if pressed and isinstance(cut, Cut):
        request = Request(
            entry=choice.entry.key,
            precision=session().precision if choice.entry.precisions else "",
            prompt=prompt,
            columns=questions,
            settings=choice.settings,
            cut=cut,
        )
        _start(clip, request, choice.backend)


def _draw_prompt(choice: Choice) -> str:
    form = session().timeline.form
    suggestions = wording.descriptions(choice.backend.spec)
    default = suggestions[0] if form.prompt is None else form.prompt
    text = st.text_area(
        "Ask of each segment", default, key=f"timeline_prompt_{form.round}_{suggestions[0]}", height=68
    ).strip()
    form.prompt = None if text == suggestions[0] else text
    _draw_suggestions("prompt", [suggestion for suggestion in suggestions if suggestion != text], _use_prompt, "")
    return text


def _use_prompt(text: str) -> None:
    form = session().timeline.form
    form.prompt, form.round = text, form.round + 1


def _draw_questions(choice: Choice) -> tuple[str, ...]:
    form = session().timeline.form
    form.questions = st.text_area(
        "Further questions, one per line",
        form.questions,
        key=f"timeline_questions_{form.round}",
        height=68,
        placeholder="Is anyone in the picture?",
        help="Each one is asked of every segment, and becomes a column. You can add more later: only what is new is asked then.",
    )
    found = tuple(dict.fromkeys(line.strip() for line in form.questions.splitlines() if line.strip()))
    _draw_suggestions(
        "question",
        [one for one in wording.questions(choice.backend.spec) if one not in found],
        _add_question,
        ":material/add:",
    )
    return found


def _add_question(text: str) -> None:
    form = session().timeline.form
    form.questions = "\n".join([*form.questions.strip().splitlines(), text])
    form.round += 1


def _draw_suggestions(name: str, texts: Sequence[str], use: Callable[[str], None], icon: str) -> None:
    """Small buttons that fill a field, or add to it."""
    with st.container(horizontal=True, gap="xsmall", key=f"timeline_{name}_suggestions"):
        for text in texts:
            key = f"timeline_{name}_{text}"
            st.button(escape(text), key=key, type="tertiary", icon=icon or None, on_click=use, args=(text,))


def _draw_cut() -> Cut | str:
    """How the clip is cut; a sentence where that is not possible."""
    form = session().timeline.form
    before = form.cut
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    mode: Any = left.segmented_control(
        "Cut the clip at",
        list(MODES),
        default=before.mode,
        format_func=MODES.__getitem__,
        required=True,
        key="timeline_mode",
    )
    label = "Longest segment (s)" if mode == "scenes" else "Length (s)"
    seconds = right.number_input(
        label, 0.5, 3600.0, float(before.seconds), step=1.0, format="%g", key="timeline_seconds"
    )
    one, two = st.columns(2)
    frames = one.number_input("Frames of each segment", 1, MAX_FRAMES, before.frames, key="timeline_frames")
    budget = two.number_input(
        "Maximum frames in total",
        1,
        100_000,
        before.budget,
        key="timeline_budget",
        help="Where this is too little for a long clip, the clip is first cut coarsely, and then finer where most happens.",
    )
    try:
        form.cut = Cut(mode=mode, seconds=seconds, frames=frames, budget=budget)
    except ValueError as error:
        return f"These numbers do not go together: {error}."
    return form.cut


def _problem(prompt: str, questions: Sequence[str]) -> str:
    if not prompt:
        return "Write what to ask of each segment."
    if len(questions) >= MAX_COLUMNS:
        return f"There are {len(questions)} further questions; {MAX_COLUMNS - 1} are allowed."
    try:
        for text in (prompt, *questions):
            check_text(text)
    except LensError as error:
        return str(error)
    return ""


def _draw_cost(clip: StoredClip, choice: Choice, cut: Cut, questions: Sequence[str]) -> bool:
    """What it will cost at most, before it starts. Returns whether a segment fits the model's context."""
    found = workspace().timelines.estimate(clip.facts, cut)
    tokens = cost.of_segment(choice.backend.spec, clip.facts, cut.frames, questions, choice.settings)
    asked = f" {found.segments * len(questions):,} answers." if len(questions) > 1 else ""
    st.caption(f":material/payments: {message(found.describe())}{asked} {message(tokens.describe())}")
    if not tokens.fits:
        show_error("A segment does not fit the model's context. Use fewer frames of each segment.")
    return tokens.fits


def _start(clip: StoredClip, request: Request, backend: Backend) -> None:
    timelines, page = workspace().timelines, session().timeline
    path = workspace().store.media.path(clip.sha256)
    try:
        workspace().refuse_if_full(1)
        made = timelines.begin(Clip(sha256=clip.sha256, name=clip.name, path=str(path), facts=clip.facts), request)
    except LensError as error:
        show_error(error)
        return
    workspace().checks.begin_on_first_use(backend, lambda: _answered(timelines, made))
    page.open = made.identity
    st.rerun()


def _answered(timelines: Timelines, made: Timeline) -> bool:
    """Waits until the run ends. Runs on a thread of its own, which knows no user."""
    run = timelines.run_of(made)
    if run is None:
        return False
    run.job.wait()
    answers = [a for segment in timelines.segments(made.identity) for a in segment.answers.values()]
    return any(not answer.error for answer in answers)

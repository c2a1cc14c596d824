"""The form for a new batch: inputs, prompt, options, what would be asked, and Start."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.batch.jobs import Batches, SavedBatch
from smolvlm_core.batch.lists import LIST_EXTENSIONS
from smolvlm_core.batch.request import Request
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.paths import GALLERY
from smolvlm_core.prompt.build import check_text
from smolvlm_core.work.job import Job
from ui import state
from ui.batch import inputs, options, picker
from ui.batch.session import BatchForm
from ui.chat.choice import Choice
from ui.state import session, workspace
from ui.text import message, show_error

SAMPLE_PROMPT = "Describe the image."
QUICK_SECONDS = 0.4  # most inputs are counted by then: they are drawn without a second run


def draw(choice: Choice) -> None:
    form = session().batch.form
    left, right = st.columns(2, gap="medium")
    with left:
        found = inputs.draw()
        input_problem = st.container()
    with right:
        prompt, prompt_fits = _draw_prompt(found)
        sampling = options.draw_clips()
        on_this_machine = form.source == inputs.SOURCES[0]
        sidecars, sidecars_fit = options.draw_sidecars() if on_this_machine else (None, True)
        schema, schema_fits = options.draw_schema()
    request = Request(
        inputs=found,
        prompt=prompt,
        entry=choice.entry.key,
        precision=session().precision if choice.entry.precisions else "",
        settings=replace(choice.settings, json_schema=""),
        sampling=sampling,
        sidecars=sidecars,
        json_schema=schema,
    )
    complete = bool(found) and prompt_fits and sidecars_fit and schema_fits
    survey = _survey(request) if complete else None
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Start", type="primary", icon=":material/play_arrow:", key="batch_start")
        if not found:
            st.button("Try it with the samples", icon=":material/auto_awesome:", on_click=_use_samples)
        elif survey is not None:
            polled = not survey.done
            st.fragment(_draw_survey, run_every=0.5 if polled else None)(survey, polled)
    if survey is not None and survey.done and isinstance(survey.error, MediaError):
        with input_problem:
            show_error(survey.error)
    if (pressed or form.pressed) and not found:
        with input_problem:
            show_error("Name a folder or file." if on_this_machine else "Upload some files.")
    form.pressed = (pressed or form.pressed) and not complete
    if pressed and not complete:
        st.rerun()  # draws what is missing beside its field
    if pressed:
        _start(request, choice.backend)


def _draw_prompt(found: tuple[str, ...]) -> tuple[str, bool]:
    """(the prompt, whether it can be used). Lists can have prompts of their own."""
    form = session().batch.form
    form.prompt = st.text_area(
        "Prompt", form.prompt, key=f"batch_prompt_{form.round}", placeholder="Describe the picture in one sentence."
    )
    prompt = form.prompt.strip()
    if not prompt and not any(name.lower().endswith(LIST_EXTENSIONS) for name in found):
        if form.pressed:
            show_error("Write a prompt.")
        return "", False
    try:
        check_text(prompt)
    except LensError as error:
        show_error(error)
        return prompt, False
    return prompt, True


def _survey(request: Request) -> Job:
    """What the request would ask; counted again where it is another request, or on demand."""
    form, batches = session().batch.form, workspace().batches
    if form.survey is not None and form.survey[0] == request:
        return form.survey[1]
    _forget_survey(form)
    job = batches.begin_survey(request)
    form.survey = (request, job)
    job.wait(QUICK_SECONDS)
    return job


def _forget_survey(form: BatchForm) -> None:
    if form.survey is not None:
        workspace().batches.forget_survey(form.survey[1])
        form.survey = None


def _draw_survey(job: Job, polled: bool) -> None:
    if not job.done:
        st.caption(":material/hourglass_top: Counting…", width="content")
        return
    if polled:
        st.rerun()  # ends the polling, and draws an error beside its field
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if job.problem is not None:
            if not isinstance(job.error, MediaError):  # that one is beside the inputs
                st.caption(f":red[:material/error: {message(job.problem)}]", width="content")
        elif job.result is not None:
            st.caption(message(f"{job.result.describe()}."), width="content")
        st.button(
            "",
            icon=":material/refresh:",
            key="batch_count_again",
            type="tertiary",
            help="Count again",
            on_click=_forget_survey,
            args=(session().batch.form,),
        )


def _use_samples() -> None:
    form = session().batch.form
    if state.is_admin():
        form.source, form.paths = inputs.SOURCES[0], str(GALLERY)
    else:
        inputs.upload_samples()
    form.prompt = form.prompt.strip() or SAMPLE_PROMPT
    form.round += 1


def _start(request: Request, backend: Backend) -> None:
    batches, form = workspace().batches, session().batch.form
    try:
        batch = batches.begin(request)
    except LensError as error:
        show_error(error)
        return
    _forget_survey(form)
    workspace().checks.begin_on_first_use(backend, lambda: _answered(batches, batch))
    picker.open_batch(batch.identity)
    st.rerun()


def _answered(batches: Batches, batch: SavedBatch) -> bool:
    """Waits until the batch ends. Runs on a thread of its own, which knows no user."""
    run = batches.run_of(batch)
    if run is None:
        return False
    run.job.wait()
    return run.progress.answered > 0

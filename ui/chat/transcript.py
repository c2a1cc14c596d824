"""The chat of a page: turns with their pictures, the answer that is being written, figures, stop, edit, answer again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import StopException

from smolvlm_core.conversations.answering import Answer, Snapshot, refuse_early, running_answer, start_answer
from smolvlm_core.conversations.store import Kind, Store
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.messages import Attachment, Message, active_turns, history_before
from smolvlm_core.text import without_images
from ui import state
from ui.backends import checks
from ui.chat.sidebar import Choice
from ui.frames import draw_frames, small_picture
from ui.text import escape, message, show_error

_STATUS = {
    "stopped": ("Stopped.", ":material/stop_circle:"),
    "running": ("Being written by another running copy of the app, or interrupted.", ":material/hourglass_top:"),
    "interrupted": ("Interrupted: the app ended while this was being written.", ":material/power_off:"),
}
_REASON = {"length": "cut at the longest answer allowed (see Settings)", "context": "cut: the model's context is full"}


def draw(store: Store, kind: Kind, choice: Choice) -> None:
    """All turns of the open conversation; follows the running answer to its end."""
    conversation = state.conversation(kind)
    if conversation is None:
        return
    running = running_answer(conversation)  # before the messages: an answer that ends in between is then read whole
    messages = store.messages(conversation)
    turns = active_turns(messages)
    for question, answer in turns:
        is_last = question.id == turns[-1][0].id
        with st.chat_message("user", avatar=":material/person:"):
            _question(store, question, kind, choice, editable=is_last and running is None)
        if answer is not None and running is not None and running.id == answer.id:
            _follow(running)
        elif answer is not None:
            with st.chat_message("assistant", avatar=":material/visibility:"):
                _answer(store, question, answer, messages)
        if is_last and running is None and st.session_state["editing"] != question.id:
            _again(store, question, answer, kind, choice)


def ask(
    store: Store,
    kind: Kind,
    choice: Choice,
    text: str,
    attachments: tuple[Attachment, ...],
    prepare: Callable[[], None] = lambda: None,
) -> bool:
    """Keep a question and start its answer. Where it is refused (False), nothing is kept and the text is shown again.
    `prepare` is called in between."""
    _set_editing(None)
    try:
        refuse_early(state.conversation(kind), text, choice.settings)
        prepare()
        conversation = state.conversation(kind) or store.create(kind)
        question = store.add_question(conversation, text, attachments)
        st.session_state[f"conversation_{kind}"] = conversation
        _start(store, conversation, question, choice)
    except LensError as error:
        state.notify(f"{error} Your question: {text}")
        return False
    return True


def _start(store: Store, conversation: str, question: int, choice: Choice) -> None:
    answer = start_answer(store, choice.backend, conversation, question, choice.settings)
    checks.begin_on_first_use(choice.backend, answer)


def _question(store: Store, question: Message, kind: Kind, choice: Choice, *, editable: bool) -> None:
    images = [a for a in question.attachments if a.kind == "image"]
    if images:
        with st.container(horizontal=True):
            for attachment in images:
                _thumbnail(store, question, attachment)
    for clip in (a for a in question.attachments if a.kind == "video"):
        shown = "" if clip.shown else " · no longer shown to the model"
        with st.expander(f"{escape(clip.name)}: {len(clip.frames)} frames{shown}", icon=":material/movie:"):
            _frames_or_error(store, [(f.timestamp_seconds, f.sha256) for f in clip.frames])
            st.caption(f"Read with {clip.decoder}." + "".join(f" Note: {escape(note)}." for note in clip.notes))
    if editable and st.session_state["editing"] == question.id:
        _edit_box(store, question, kind, choice)
        return
    text, pencil = st.columns([12, 1], vertical_alignment="top") if editable else (st.container(), None)
    text.text(question.text)
    if pencil is not None:
        pencil.button(
            "",
            icon=":material/edit:",
            key=f"edit_{question.id}",
            type="tertiary",
            help="Edit this question",
            on_click=_set_editing,
            args=(question.id,),
        )


def _frames_or_error(store: Store, frames: list[tuple[float | str, str]]) -> None:
    try:
        draw_frames([(mark, small_picture(store, sha256)) for mark, sha256 in frames])
    except LensError as error:
        show_error(error)


def _thumbnail(store: Store, question: Message, attachment: Attachment) -> None:
    with st.container(width=150):
        try:
            st.image(small_picture(store, attachment.sha256), width=140)
        except LensError as error:
            show_error(error)
        st.caption(escape(attachment.name) + "".join(f" · {escape(note)}" for note in attachment.notes))
        label, icon, tip = (
            (
                "Hide from model",
                ":material/visibility_off:",
                "Follow-up questions will not show this picture to the model",
            )
            if attachment.shown
            else ("Show to model", ":material/visibility:", "The model is not shown this picture any more")
        )
        key = f"toggle_{question.id}_{attachment.sha256}"
        st.button(
            label,
            icon=icon,
            key=key,
            type="tertiary",
            help=tip,
            on_click=_toggle,
            args=(store, question, attachment.sha256),
        )


def _toggle(store: Store, question: Message, sha256: str) -> None:
    shown = next(a.shown for a in question.attachments if a.sha256 == sha256)
    try:
        store.set_shown(question.id, sha256, not shown)
    except LensError as error:
        state.notify(error)


def _set_editing(question_id: int | None) -> None:
    st.session_state["editing"] = question_id


def _edit_box(store: Store, question: Message, kind: Kind, choice: Choice) -> None:
    with st.form(f"edit_form_{question.id}", border=False):
        text = st.text_area("Question", question.text, label_visibility="collapsed")
        send, leave = st.columns([1, 1])
        if send.form_submit_button("Ask again", type="primary", width="stretch") and text.strip():
            try:
                refuse_early(state.conversation(kind), text, choice.settings)
                changed = store.replace_question(question.id, text.strip())
                _set_editing(None)
                _start(store, str(state.conversation(kind)), changed, choice)
            except LensError as error:
                state.notify(error)
            st.rerun()
        if leave.form_submit_button("Cancel", width="stretch"):
            _set_editing(None)
            st.rerun()


def _answer(store: Store, question: Message, answer: Message, messages: list[Message]) -> None:
    if answer.text:
        st.markdown(without_images(answer.text))
    elif answer.status == "complete":
        st.caption("The model answered with nothing.")
    if answer.status == "failed":
        show_error(answer.error)
    elif answer.status in _STATUS:
        text, icon = _STATUS[answer.status]
        st.caption(f"{icon} {text}")
    stats = answer.stats or {}
    if stats.get("stop_reason") in _REASON:
        st.warning(f"This answer was {_REASON[stats['stop_reason']]}.", icon=":material/content_cut:")
    st.caption(escape(figures(answer)))
    with st.expander("What the model was given", icon=":material/frame_inspect:"):
        _given(store, question, answer, messages)


def figures(answer: Message) -> str:
    """One line: model, times, tokens."""
    stats = answer.stats or {}
    parts = [answer.model]
    if (first := stats.get("time_to_first_token_seconds")) is not None:
        parts.append(f"first token {first:.2f} s")
    if stats.get("tokens_per_second"):
        parts.append(f"{stats['tokens_per_second']:.0f} tokens/s")
    if stats:
        images, all_tokens = stats["image_tokens"], stats["prompt_tokens"]
        parts.append(f"{images} image + {all_tokens - images} text tokens" if images else f"{all_tokens} prompt tokens")
        parts.append(f"{stats['new_tokens']} new")
    return " · ".join(parts)


def _given(store: Store, question: Message, answer: Message, messages: list[Message]) -> None:
    stats: dict[str, Any] = answer.stats or {}
    try:
        prompt = build_prompt(
            history_before(messages, question.id), store.picture, str((answer.settings or {}).get("system_prompt", ""))
        )
    except LensError as error:
        st.caption(message(error))
        return
    if stats.get("prompt_fingerprint") not in (None, "", prompt.fingerprint):
        st.caption("Pictures were dropped or shown again since: this is what the model would be given now.")
    if prompt.slots:
        _frames_or_error(store, [(slot.label, slot.sha256) for slot in prompt.slots])
    st.code(prompt.text, language=None, wrap_lines=True)
    told = {name: value for name, value in (answer.settings or {}).items() if name != "system_prompt"}
    memory = stats.get("peak_memory_bytes", 0) / 2**20
    reused = stats.get("reused_tokens", 0)
    lines = [
        f"{len(prompt.slots)} pictures: each `<image>` stands for one, in order. {reused} prompt tokens came from the cache of the turn before.",
        f"Settings: {escape(', '.join(f'{name} {value}' for name, value in told.items()))}.",
        f"Peak of {stats.get('memory_of') or 'memory'} {memory:,.0f} MiB. Prompt {prompt.fingerprint[:12]}. Weights: {escape(answer.revision or 'not recorded')}.",
    ]
    st.caption("  \n".join(lines))


def _again(store: Store, question: Message, answer: Message | None, kind: Kind, choice: Choice) -> None:
    label = "Answer again" if answer is not None else "Answer"
    st.button(
        label,
        icon=":material/refresh:",
        key=f"again_{question.id}",
        type="tertiary",
        on_click=_restart,
        args=(store, kind, question.id, choice),
    )


def _restart(store: Store, kind: Kind, question_id: int, choice: Choice) -> None:
    try:
        _start(store, str(state.conversation(kind)), question_id, choice)
    except LensError as error:
        state.notify(error)


def _follow(answer: Answer) -> None:
    """Draw the answer as it grows. The native stop button ends the script with StopException; a rerun only leaves, and
    the next run finds the answer again."""
    with st.chat_message("assistant", avatar=":material/visibility:"):
        text, sign = st.empty(), st.empty()
        st.button("Stop", icon=":material/stop_circle:", key=f"stop_{answer.id}", on_click=answer.stop)
    _watch(answer)
    began = time.monotonic()
    try:
        for snapshot in answer.follow():
            _show(snapshot, text, sign, time.monotonic() - began)
    except StopException:
        answer.stop()
        answer.wait(2)
        raise
    st.rerun()


def _show(snapshot: Snapshot, text: Any, sign: Any, seconds: float) -> None:
    if snapshot.text:
        text.markdown(without_images(snapshot.text) + (" ▍" if not snapshot.done else ""))
        sign.empty()
    if snapshot.progress is not None:
        label = f"{message(snapshot.progress.text)}… {seconds:.0f} s"
        sign.progress(snapshot.progress.fraction or 0.0, text=label)


@st.fragment(run_every=0.7)
def _watch(answer: Answer) -> None:
    """After the native stop the script is over: this draws the page again once the answer has ended."""
    if running_answer(answer.conversation_id) is not answer:
        st.rerun()

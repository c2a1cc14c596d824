"""One turn of a chat: what the question shows, the answer, and what the model was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.markdown import safe_markdown
from smolvlm_core.prompt.branches import Branches
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.messages import Attachment, Message, history_before
from ui import state
from ui.pictures import parts, shown
from ui.state import workspace
from ui.text import escape, message, show_error

_STATUS = {
    "stopped": ("Stopped.", ":material/stop_circle:"),
    "running": (
        "Another copy of the app is writing this answer, or was closed while writing it.",
        ":material/hourglass_top:",
    ),
    "interrupted": ("Interrupted: the app was closed while this answer was written.", ":material/power_off:"),
}
_CUT = {
    "length": "This answer was cut at the longest answer allowed (see Settings).",
    "context": "This answer was cut: the model's context is full.",
}


def draw_attachments(question: Message) -> None:
    images = [a for a in question.attachments if a.kind == "image"]
    if images:
        pictures = [shown.of_picture(attachment) for attachment in images]
        with st.container(horizontal=True):
            for index, attachment in enumerate(images):
                with st.container(width=150, gap="xsmall"):
                    parts.draw(f"pictures_{question.id}_{index}", pictures, only=index, edge=140)
                    _below_picture(question, attachment)
    for clip in (a for a in question.attachments if a.kind == "video"):
        _clip(question, clip)


def _clip(question: Message, clip: Attachment) -> None:
    count = f"{len(clip.frames)} frame{'s' if len(clip.frames) > 1 else ''}"
    hidden = "" if clip.shown else " · :material/visibility_off: hidden from the model"
    st.caption(f":material/movie: {escape(clip.name)}: {count}, read with {escape(clip.decoder)}{hidden}")
    parts.draw(f"frames_{question.id}", shown.of_frames(clip), scrolls=True, leaves=True)
    for note in clip.notes:
        st.caption(f"Note: {escape(note)}.")


def _below_picture(question: Message, attachment: Attachment) -> None:
    if attachment.shown:
        label, icon = "Hide from model", ":material/visibility_off:"
        tip = "Follow-up questions will not show this picture to the model."
    else:
        label, icon = "Show to model", ":material/visibility:"
        tip = "This picture is hidden from the model."
    if attachment.notes:
        st.caption(" · ".join(escape(note) for note in attachment.notes))
    st.button(
        label,
        icon=icon,
        key=f"toggle_{question.id}_{attachment.sha256}",
        type="tertiary",
        help=tip,
        on_click=_toggle,
        args=(question, attachment.sha256),
    )


def _toggle(question: Message, sha256: str) -> None:
    shown = next(a.shown for a in question.attachments if a.sha256 == sha256)
    try:
        workspace().store.set_shown(question.id, sha256, not shown)
    except LensError as error:
        state.notify(error)


def draw_answer(
    question: Message, answer: Message, branches: Branches[Message], draw_actions: Callable[[], None]
) -> None:
    if answer.text:
        st.markdown(safe_markdown(answer.text))
    elif answer.status == "complete":
        st.caption("The model gave an empty answer.")
    if answer.status == "failed":
        show_error(answer.error)
    elif answer.status in _STATUS:
        text, icon = _STATUS[answer.status]
        st.caption(f"{icon} {text}")
    if answer.stats is not None and answer.stats.stop_reason in _CUT:
        st.warning(_CUT[answer.stats.stop_reason], icon=":material/content_cut:")
    figures = [answer.model, *([answer.stats.summary()] if answer.stats else [])]
    if answer.settings is not None and answer.settings.temperature > 0:
        figures.append(f"temperature {answer.settings.temperature:g}, seed {answer.settings.seed}")
    st.caption(escape(" · ".join(figures)))
    draw_actions()
    with st.expander("What the model was given", icon=":material/frame_inspect:"):
        _given(question, answer, branches)


def _given(question: Message, answer: Message, branches: Branches[Message]) -> None:
    system_prompt = answer.settings.system_prompt if answer.settings else ""
    try:
        prompt = build_prompt(history_before(branches, question.id), workspace().store.media.picture, system_prompt)
    except LensError as error:
        st.caption(message(error))
        return
    if answer.stats is not None and answer.stats.prompt_fingerprint not in ("", prompt.fingerprint):
        st.caption("Pictures were hidden or shown again since. This is what the model would be given now.")
    if prompt.slots:
        frames = any(not slot.tiled for slot in prompt.slots)
        parts.draw(f"given_{answer.id}", [shown.of_slot(slot) for slot in prompt.slots], leaves=frames)
    st.code(prompt.text, language=None, wrap_lines=True)
    st.caption("  \n".join(_details(answer, prompt)))


def _details(answer: Message, prompt: Prompt) -> list[str]:
    settings = asdict(answer.settings) if answer.settings else {}
    values = ", ".join(
        f"{name} {value}" for name, value in settings.items() if name != "system_prompt" and value not in (None, "")
    )
    stats = answer.stats
    reused, known = (stats.reused_tokens, stats.known_tiles) if stats else (0, 0)
    memory = f"Peak of {stats.memory_of or 'memory'}: {stats.peak_memory_bytes / 2**20:,.0f} MiB. " if stats else ""
    count = len(prompt.slots)
    pictures = f"{count} picture{'s' if count > 1 else ''}, each in place of one `<image>`, in order. " if count else ""
    return [
        f"{pictures}Reused from earlier questions: {reused} prompt tokens, {known} encoded picture tiles.",
        f"Settings: {escape(values)}.",
        f"{memory}Prompt {prompt.fingerprint[:12]}. Weights: {escape(answer.revision or 'not recorded')}.",
    ]

"""Messages and attachments of a conversation. Plain data: does not know storage, models or pages."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from smolvlm_core.prompt.generation import GenerationSettings, Stats

Role = Literal["user", "assistant"]
AnswerStatus = Literal["complete", "running", "stopped", "failed", "interrupted"]


@dataclass(frozen=True)
class FrameRef:
    """One frame of a clip, as shown to the model. `sha256` identifies the stored PNG."""

    timestamp_seconds: float
    frame_index: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """An image, or the frames selected from a clip. `shown` is False after the user hides it from the model.

    `tiled`: an image that is split into tiles; else it is one square tile, as the frames of clips are.
    """

    kind: Literal["image", "video"]
    sha256: str
    name: str
    mime: str
    width: int
    height: int
    shown: bool = True
    tiled: bool = True
    duration_seconds: float = 0.0
    range_seconds: tuple[float, float] | None = None  # the part of the clip that was sampled
    frames: tuple[FrameRef, ...] = ()
    decoder: str = ""
    strategy: str = ""  # how the frames were selected: "even", "scenes" or "hand"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Message:
    """One question or one answer. `reply_to` of an answer is the ID of its question.

    `pieces`: the text before, between and after its images, where each image has its place in the text; then `text` is unused.
    """

    role: Role
    text: str
    attachments: tuple[Attachment, ...] = ()
    _: KW_ONLY
    pieces: tuple[str, ...] = ()
    id: int = 0
    reply_to: int | None = None
    status: AnswerStatus = "complete"
    active: bool = True  # False: replaced by an edit or a new answer, but still stored
    model: str = ""
    revision: str = ""
    settings: GenerationSettings | None = None
    stats: Stats | None = None
    error: str = ""
    created: float = 0.0


def active_turns(messages: list[Message]) -> list[tuple[Message, Message | None]]:
    """Questions in order, each with its current answer or None."""
    answers = {m.reply_to: m for m in messages if m.role == "assistant" and m.active}
    return [(m, answers.get(m.id)) for m in messages if m.role == "user" and m.active]


def history_before(messages: list[Message], question_id: int) -> list[Message]:
    """The messages sent to the model for one question: the answered turns before it, then the question.

    A turn whose answer is missing, failed or empty is skipped. Its attachments move to the next question that is sent, so
    the model still gets everything the user added.
    """
    history: list[Message] = []
    carried: tuple[Attachment, ...] = ()
    for question, answer in active_turns(messages):
        if question.id == question_id:
            history.append(_with_attachments(question, carried + question.attachments))
            break
        if answer is None or answer.status in ("failed", "running") or not answer.text.strip():
            carried += question.attachments
            continue
        history += [_with_attachments(question, carried + question.attachments), answer]
        carried = ()
    return history


def _with_attachments(message: Message, attachments: tuple[Attachment, ...]) -> Message:
    return replace(message, attachments=attachments) if attachments != message.attachments else message

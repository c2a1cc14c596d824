"""What was said and shown: pure data. Knows nothing of storage, models or pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from smolvlm_core.prompt.generation import GenerationSettings, Stats

Role = Literal["user", "assistant"]
Status = Literal["complete", "running", "stopped", "failed", "interrupted"]


@dataclass(frozen=True)
class FrameRef:
    """One frame of a clip as the model is shown it. `sha256` names the stored PNG."""

    timestamp_seconds: float
    frame_index: int
    sha256: str


@dataclass(frozen=True)
class Attachment:
    """A picture, or the frames taken from a clip. `shown` is False once the user dropped it from what the model sees."""

    kind: Literal["image", "video"]
    sha256: str
    name: str
    mime: str
    width: int
    height: int
    shown: bool = True
    duration_seconds: float = 0.0
    range_seconds: tuple[float, float] | None = None  # the part of the clip that the frames were taken from
    frames: tuple[FrameRef, ...] = ()
    decoder: str = ""
    strategy: str = ""  # how the frames were chosen: "even", "scenes" or "hand"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Message:
    """One question or one answer. An answer has `reply_to`, the id of its question."""

    role: Role
    text: str
    attachments: tuple[Attachment, ...] = ()
    id: int = 0
    reply_to: int | None = None
    status: Status = "complete"
    active: bool = True  # False: replaced by an edit or a new answer, kept for the record
    model: str = ""
    revision: str = ""
    settings: GenerationSettings | None = None
    stats: Stats | None = None
    error: str = ""
    created: float = 0.0


def active_turns(messages: list[Message]) -> list[tuple[Message, Message | None]]:
    """Questions in the order they were asked, each with its current answer or None."""
    answers = {m.reply_to: m for m in messages if m.role == "assistant" and m.active}
    return [(m, answers.get(m.id)) for m in messages if m.role == "user" and m.active]


def history_before(messages: list[Message], question_id: int) -> list[Message]:
    """What the model is told for one question: the answered turns before it, then the question.

    A turn whose answer is missing, failed or empty is left out as a whole, except for its pictures: they move to the
    question so that nothing the user showed is lost.
    """
    out: list[Message] = []
    carried: tuple[Attachment, ...] = ()
    for question, answer in active_turns(messages):
        if question.id == question_id:
            out.append(_with_attachments(question, carried + question.attachments))
            break
        if answer is None or answer.status in ("failed", "running") or not answer.text.strip():
            carried += question.attachments
            continue
        out += [_with_attachments(question, carried + question.attachments), answer]
        carried = ()
    return out


def _with_attachments(message: Message, attachments: tuple[Attachment, ...]) -> Message:
    return replace(message, attachments=attachments) if attachments != message.attachments else message

"""Messages and attachments of a conversation. Plain data: does not know storage, models or pages."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from smolvlm_core.prompt.branches import Branches
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

    `parent` of a question is the ID of the message it follows: an answer, or a question that had none. None: it is the first.
    `active`: of the versions of a question or an answer, this one is chosen (see `branches`).

    `pieces`: the text before, between and after its images, where each image has its place in the text; then `text` is unused.
    """

    role: Role
    text: str
    attachments: tuple[Attachment, ...] = ()
    _: KW_ONLY
    pieces: tuple[str, ...] = ()
    id: int = 0
    reply_to: int | None = None
    parent: int | None = None
    status: AnswerStatus = "complete"
    active: bool = True
    model: str = ""
    revision: str = ""
    settings: GenerationSettings | None = None
    stats: Stats | None = None
    error: str = ""
    created: float = 0.0


Turns = list[tuple[Message, Message | None]]


def active_turns(messages: list[Message] | Branches[Message]) -> Turns:
    """The chosen branch: questions in order, each with its chosen answer or None. Only its last clip is shown to the model."""
    return _with_one_clip(_branches(messages).turns())


def history_before(messages: list[Message] | Branches[Message], question_id: int) -> list[Message]:
    """The messages sent to the model for one question: the answered turns before it in its branch, then the question.

    A turn whose answer is missing, failed or empty is skipped. Its attachments move to the next question that is sent, so
    the model still gets everything the user added. Only the last clip is shown to the model.
    """
    history: list[Message] = []
    carried: tuple[Attachment, ...] = ()
    for question, answer in _with_one_clip(_branches(messages).turns_to(question_id)):
        if question.id == question_id:
            history.append(_with_attachments(question, carried + question.attachments))
            break
        if answer is None or answer.status in ("failed", "running") or not answer.text.strip():
            carried += question.attachments
            continue
        history += [_with_attachments(question, carried + question.attachments), answer]
        carried = ()
    return history


def _branches(messages: list[Message] | Branches[Message]) -> Branches[Message]:
    return messages if isinstance(messages, Branches) else Branches(messages)


def _with_one_clip(turns: Turns) -> Turns:
    """The model sees one set of frames at a time: those before the last clip are hidden, even where that clip is hidden too.
    Which are earlier depends on the branch."""
    found: Turns = []
    has_clip = False
    for question, answer in reversed(turns):
        has_clips = any(a.kind == "video" for a in question.attachments)
        if has_clip and has_clips:
            hidden = tuple(replace(a, shown=a.shown and a.kind == "image") for a in question.attachments)
            question = replace(question, attachments=hidden)
        has_clip = has_clip or has_clips
        found.append((question, answer))
    return found[::-1]


def _with_attachments(message: Message, attachments: tuple[Attachment, ...]) -> Message:
    return replace(message, attachments=attachments) if attachments != message.attachments else message

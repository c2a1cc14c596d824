"""One segment → its frames and answers. Preparing (decode, no model) is apart from asking, so that both can go on at once.

Knows clips and a backend. Does not know the database or who asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smolvlm_core import media
from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.conversations.attachments import describe_clip
from smolvlm_core.conversations.unsaved import UnsavedMedia
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.timeline.records import Answer, Segment
from smolvlm_core.timeline.store import KeptFrame
from smolvlm_core.video import SampledClip, sample_clip, take_frames
from smolvlm_core.work.events import child

GAVE_UP = "The answer ended before it was complete."
THUMBNAIL_EDGE = 256  # px


@dataclass(frozen=True, kw_only=True)
class Task:
    """A segment, and the questions that it is asked, by the number of their column. `frames`: how many, where none were shown yet."""

    segment: Segment
    questions: Mapping[int, str]
    frames: int
    fps: float


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task that is ready to be asked. `error`: why its frames cannot be shown; then there are no prompts."""

    task: Task
    frames: tuple[KeptFrame, ...] = ()
    notes: tuple[str, ...] = ()
    prompts: Mapping[int, Prompt] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)
    decoded_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`answers`: by the number of their column; those with an error failed."""

    prepared: Prepared
    answers: Mapping[int, Answer]

    @property
    def failed(self) -> bool:
        return any(answer.error for answer in self.answers.values())

    @property
    def is_complete(self) -> bool:
        """False where the run ended before all questions were asked."""
        return self.answers.keys() >= self.prepared.task.questions.keys()


def frames_of(
    source: Path, segment: Segment, count: int, fps: float, cancel: threading.Event | None = None
) -> SampledClip:
    """The frames of a segment: those that were shown before, or `count` from its first to its last frame.

    Raises:
        MediaError: the clip is gone, or cannot be decoded there.
        SamplingCancelled: `cancel` was set.
    """
    if segment.frames:
        return take_frames(source, [ref.timestamp_seconds for ref in segment.frames], cancel=cancel)
    last = max(segment.start_seconds, segment.end_seconds - 0.5 / fps)
    return sample_clip(source, count, (segment.start_seconds, last), cancel=cancel)


def prepare(task: Task, source: Path, name: str, settings: GenerationSettings, cancel: threading.Event) -> Prepared:
    """Decode the frames of a segment. Never raises LensError: what went wrong is in `errors`."""
    try:
        sampled = frames_of(source, task.segment, task.frames, task.fps, cancel)
    except LensError as error:
        return Prepared(task=task, errors=dict.fromkeys(task.questions, str(error)))
    attachment, _ = describe_clip("", name, sampled, task.segment.range_seconds)
    given = UnsavedMedia()
    given.add_frames({ref.sha256: frame.image for ref, frame in zip(attachment.frames, sampled.frames)})
    kept = tuple(
        KeptFrame(ref=ref, thumbnail=media.jpeg_bytes(media.thumbnail(frame.image, THUMBNAIL_EDGE)))
        for ref, frame in zip(attachment.frames, sampled.frames)
    )
    prompts, errors = _prompts(task.questions, attachment, given, settings.system_prompt)
    return Prepared(
        task=task,
        frames=kept,
        notes=sampled.notes[len(sampled.file_notes) :],
        prompts=prompts,
        errors=errors,
        decoded_bytes=sum(frame.pixels.nbytes for frame in sampled.frames),
    )


def _prompts(
    questions: Mapping[int, str], attachment: Attachment, given: UnsavedMedia, system_prompt: str
) -> tuple[dict[int, Prompt], dict[int, str]]:
    prompts: dict[int, Prompt] = {}
    errors: dict[int, str] = {}
    for column, question in questions.items():
        try:
            prompts[column] = build_prompt([Message("user", question, (attachment,))], given.open, system_prompt)
        except LensError as error:
            errors[column] = str(error)
    return prompts, errors


def ask(prepared: Prepared, backend: Backend, settings: GenerationSettings, cancel: threading.Event) -> Asked | None:
    """Ask one question after another, so that what was read of the frames is used again. None where `cancel` was set first.

    Never raises LensError: what went wrong is in the answers.
    """
    if cancel.is_set():
        return None  # an error may be that sampling was cancelled
    answers = {column: Answer(error=error, finished=time.time()) for column, error in prepared.errors.items()}
    for column, prompt in prepared.prompts.items():
        answer = _answer(prompt, backend, settings, cancel)
        if answer is None:
            break
        answers[column] = answer
    return Asked(prepared=prepared, answers=answers) if answers else None


def _answer(prompt: Prompt, backend: Backend, settings: GenerationSettings, cancel: threading.Event) -> Answer | None:
    try:
        with child(cancel) as own:  # a backend that fails may set the event it is given
            reply = collect(backend.generate(prompt, settings, own))
    except LensError as error:
        if cancel.is_set():
            return None
        return Answer(error=str(error), model=backend.name, prompt=prompt.text, finished=time.time())
    if cancel.is_set():
        return None
    if reply.stats.stop_reason == "cancelled":
        return Answer(error=GAVE_UP, model=backend.name, prompt=prompt.text, finished=time.time())
    return Answer(
        text=reply.text.strip(),
        model=backend.name,
        weights=backend.revision,
        prompt=prompt.text,
        stats=reply.stats,
        finished=time.time(),
    )

"""The cost of the next question in tokens and memory, and whether it fits the model's context window.

Knows prompts and token costs. Does not tokenize or run a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from smolvlm_core.conversations.store import Store
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.prompt.branches import Branches
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.geometry import CHARACTERS_PER_TOKEN, estimate_tokens
from smolvlm_core.prompt.messages import Attachment, Message, active_turns, history_before
from smolvlm_core.video import count_that_fits

TYPICAL_QUESTION = "What do you see in this picture?"
NEARLY_FULL = 0.8
ANSWER_RESERVE = 64  # tokens that must stay free for the answer


@dataclass(frozen=True)
class Cost:
    """Image tokens are exact. Text tokens are an estimate. `memory_bytes` is a prediction, 0 where there is none."""

    image_tokens: int
    text_tokens: int
    context_tokens: int
    memory_bytes: int = 0

    @property
    def total_tokens(self) -> int:
        return self.image_tokens + self.text_tokens

    @property
    def fits(self) -> bool:
        return self.total_tokens + ANSWER_RESERVE <= self.context_tokens

    @property
    def is_nearly_full(self) -> bool:
        return self.total_tokens >= NEARLY_FULL * self.context_tokens

    def describe(self) -> str:
        return (
            f"This question: about {self.total_tokens:,} of {self.context_tokens:,} tokens "
            f"({self.image_tokens:,} image, {self.text_tokens:,} text)"
            + (f" and {describe_bytes(self.memory_bytes)} of memory" if self.memory_bytes else "")
        )


@dataclass(frozen=True)
class Part:
    """What takes room in the context. `message_id` and `sha256`: of a picture or clip of the conversation, which can be hidden."""

    label: str
    tokens: int
    message_id: int | None = None
    sha256: str = ""


def of_next_question(
    store: Store,
    spec: ModelSpec,
    conversation: str | None,
    attachments: tuple[Attachment, ...],
    system_prompt: str,
    *,
    drop_clips: bool = False,
    memory_of: Callable[[Prompt], int] = lambda prompt: 0,
) -> Cost:
    """The cost of a short question with these attachments. `drop_clips`: ignore earlier frames, which will be hidden.

    `memory_of`: the predicted memory of a prompt's answer in bytes.
    """
    messages = store.messages(conversation) if conversation else []
    if drop_clips:
        messages = [replace(m, attachments=tuple(a for a in m.attachments if a.kind != "video")) for m in messages]
    prompt = build_prompt(with_next_question(messages, attachments), store.media.picture, system_prompt)
    images, text = estimate_tokens(prompt, spec.geometry)
    return Cost(images, text, spec.context_tokens, memory_of(prompt))


def with_next_question(messages: list[Message], attachments: tuple[Attachment, ...]) -> list[Message]:
    """What the model would be sent for a short question at the end of the chosen branch."""
    last = Branches(messages).last()
    identity = max((message.id for message in messages), default=0) + 1
    question = Message("user", TYPICAL_QUESTION, attachments, id=identity, parent=last.id if last else None)
    return history_before([*messages, question], identity)


def parts(
    store: Store,
    spec: ModelSpec,
    conversation: str | None,
    attachments: tuple[Attachment, ...],
    cost: Cost,
    *,
    drop_clips: bool = False,
) -> list[Part]:
    """What `cost` is made of, in the order of the conversation. Pictures and clips are exact, texts are estimates."""
    found: list[Part] = []
    for question, answer in active_turns(store.messages(conversation)) if conversation else []:
        for a in question.attachments:
            if a.shown and not (drop_clips and a.kind == "video"):
                found.append(Part(_name(a), _tokens(spec, store, a), question.id, a.sha256))
        if answer is not None and answer.status not in ("failed", "running") and answer.text.strip():
            tokens = math.ceil(len(question.text + answer.text) / CHARACTERS_PER_TOKEN)
            found.append(Part(f"“{question.text}” and its answer", tokens))
    found += [Part(f"{_name(a)}, not sent yet", _tokens(spec, store, a)) for a in attachments]
    rest = cost.total_tokens - sum(part.tokens for part in found)
    return [*found, Part("A short question and the chat format", max(0, rest))]


def _name(attachment: Attachment) -> str:
    count = len(attachment.frames)
    return (
        attachment.name
        if attachment.kind == "image"
        else f"{attachment.name} ({count} frame{'s' if count > 1 else ''})"
    )


def _tokens(spec: ModelSpec, store: Store, attachment: Attachment) -> int:
    prompt = build_prompt([Message("user", "", (replace(attachment, shown=True),))], store.media.picture)
    return spec.geometry.image_tokens(prompt.slots)


def most_frames(
    store: Store,
    spec: ModelSpec,
    conversation: str | None,
    clip: Attachment,
    system_prompt: str,
    most: int,
) -> int:
    """The largest number of frames, up to `most`, that leaves room for a question and an answer."""

    def tokens_for(count: int) -> int:
        shown = (replace(clip, frames=clip.frames[:1] * count),) if count else ()
        cost = of_next_question(store, spec, conversation, shown, system_prompt, drop_clips=True)
        return cost.image_tokens + cost.text_tokens + ANSWER_RESERVE

    return max(1, count_that_fits(spec.context_tokens, tokens_for, most))

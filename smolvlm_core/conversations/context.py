"""What the next question costs of the model's context, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from smolvlm_core.conversations.store import Store
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.geometry import estimate_tokens
from smolvlm_core.prompt.messages import Attachment, Message, active_turns, history_before
from smolvlm_core.video import count_that_fits

ANSWER_ROOM = 64  # tokens kept free for the answer before a question is let through


@dataclass(frozen=True)
class Cost:
    """Image tokens are exact, text tokens estimated."""

    image_tokens: int
    text_tokens: int
    context_tokens: int

    @property
    def fits(self) -> bool:
        return self.image_tokens + self.text_tokens + ANSWER_ROOM <= self.context_tokens

    def describe(self) -> str:
        total = self.image_tokens + self.text_tokens
        return (
            f"This question: about {total:,} of {self.context_tokens:,} tokens "
            f"({self.image_tokens} image tokens, {self.text_tokens} text)"
        )


def of_next_question(
    store: Store,
    spec: ModelSpec,
    conversation: str | None,
    attachments: tuple[Attachment, ...],
    system_prompt: str,
    *,
    drop_clips: bool = False,
) -> Cost:
    """As if a short question were asked now. `drop_clips`: earlier frames will no longer be shown."""
    said = store.messages(conversation) if conversation else []
    if drop_clips:
        said = [replace(m, attachments=tuple(a for a in m.attachments if a.kind != "video")) for m in said]
    history = history_before(said, active_turns(said)[-1][0].id) if active_turns(said) else []
    answers = [m for m in said if m.role == "assistant" and m.active and history and m.reply_to == history[-1].id]
    asked = Message("user", "What do you see in this picture?", attachments)
    prompt = build_prompt([*history, *answers, asked], store.media.picture, system_prompt)
    images, text = estimate_tokens(prompt, spec.geometry)
    return Cost(images, text, spec.context_tokens)


def most_frames(
    store: Store,
    spec: ModelSpec,
    conversation: str | None,
    clip: Attachment,
    system_prompt: str,
    most: int,
) -> int:
    """How many frames of the clip, at most `most`, leave room for a question and an answer."""

    def tokens_for(count: int) -> int:
        shown = (replace(clip, frames=clip.frames[:1] * count),) if count else ()
        spent = of_next_question(store, spec, conversation, shown, system_prompt, drop_clips=True)
        return spent.image_tokens + spent.text_tokens + ANSWER_ROOM

    return max(1, count_that_fits(spec.context_tokens, tokens_for, most))

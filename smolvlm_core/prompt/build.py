"""Conversation → one exact prompt with image slots, the same for every backend.

Knows SmolVLM2's chat format and what pictures cost in tokens. Does not know who will run the prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from smolvlm_core.errors import PromptError
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.prompt.template import ASSISTANT_CUE, START, reserved_tokens, turn_text, video_text
from smolvlm_core.prompt.template import IMAGE as IMAGE_SLOT
from smolvlm_core.text import valid_text


@dataclass(frozen=True)
class Slot:
    """One picture of the prompt. `tiled`: cut into tiles and an overview; a video frame is one square tile."""

    sha256: str
    width: int
    height: int
    tiled: bool
    label: str
    open: Callable[[], Image.Image] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Turn:
    """`role`: system, user or assistant. `content` holds one `<image>` for each picture, where it stands."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """The turns so far, the last of them a question; `slots` are their pictures, in the order of their `<image>`."""

    turns: tuple[Turn, ...]
    slots: tuple[Slot, ...]

    @property
    def text(self) -> str:
        """The exact text, up to where the answer begins."""
        said = (turn_text(t.role, t.content, image_first=t.content.startswith(IMAGE_SLOT)) for t in self.turns)
        return START + "".join(said) + ASSISTANT_CUE

    @property
    def fingerprint(self) -> str:
        """Equal for two backends exactly when they were given the same text and the same pictures."""
        parts = [self.text, *(f"{slot.sha256} {slot.tiled}" for slot in self.slots)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


OpenMedia = Callable[[str], Image.Image]  # sha256 → the picture


def build_prompt(messages: Sequence[Message], open_media: OpenMedia, system_prompt: str = "") -> Prompt:
    """The prompt of a conversation that ends in a question. The same messages always give the same prompt.

    Pictures are not opened here: each slot opens its own with `open_media` when a backend asks.

    Raises:
        PromptError: nothing asked, reserved words in the text, or several clips in one turn.
    """
    if not messages or messages[-1].role != "user":
        raise PromptError("There is no question to answer.", "Type one.")
    turns, slots = [], []
    if system_prompt.strip():
        check_text(system_prompt)
        turns.append(Turn("system", valid_text(system_prompt).strip()))
    for message in messages:
        check_text(message.text)
        content, found = _content(message, open_media)
        turns.append(Turn(message.role, content))
        slots += found
    return Prompt(tuple(turns), tuple(slots))


def check_text(text: str) -> None:
    """Raises PromptError if the text spells out a special token of the chat format."""
    if reserved := reserved_tokens(text):
        raise PromptError(
            f"Your text contains {reserved[0]}, which the model's chat format reserves.",
            "Change its spelling, for example by adding a space inside the brackets.",
        )


def _content(message: Message, open_media: OpenMedia) -> tuple[str, list[Slot]]:
    """A turn's text (pictures first, then the clip, then the words) and its slots."""
    shown = [a for a in message.attachments if a.shown]
    images = [a for a in shown if a.kind == "image"]
    videos = [a for a in shown if a.kind == "video"]
    if len(videos) > 1:
        raise PromptError(f"A turn may hold one clip; this one holds {len(videos)}.", "Remove all but one.")
    if images and videos:
        raise PromptError("A turn may hold pictures or a clip, not both.", "Ask about them in two turns.")
    slots = [Slot(a.sha256, a.width, a.height, True, a.name, partial(open_media, a.sha256)) for a in images]
    if not videos:
        return IMAGE_SLOT * len(images) + valid_text(message.text).strip(), slots
    clip = videos[0]
    if not clip.frames:
        raise PromptError(f"No frames were taken from {clip.name}.", "Choose a range that has frames in it.")
    slots += _frame_slots(clip, open_media)
    intro = video_text([f.timestamp_seconds for f in clip.frames], clip.duration_seconds)
    return intro + valid_text(message.text).strip(), slots


def _frame_slots(clip: Attachment, open_media: OpenMedia) -> list[Slot]:
    return [
        Slot(
            f.sha256,
            clip.width,
            clip.height,
            False,
            f"{clip.name} at {f.timestamp_seconds:.2f} s",
            partial(open_media, f.sha256),
        )
        for f in clip.frames
    ]

"""Builds one exact prompt, with image slots, from a conversation. Every backend gets the same prompt.

Knows SmolVLM2's chat format. Does not know which backend runs the prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from smolvlm_core.errors import PromptError
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.prompt.template import (
    ASSISTANT_CUE,
    START,
    VLMEVALKIT_SYSTEM,
    VideoPrompt,
    reserved_tokens,
    turn_text,
    video_text,
    vlmevalkit_turn_text,
    vlmevalkit_video_text,
)
from smolvlm_core.prompt.template import IMAGE as IMAGE_SLOT
from smolvlm_core.text import valid_text
from smolvlm_core.times import time_text


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One image of the prompt.

    `tiled`: split into tiles plus an overview. A video frame is not: it is one square tile.
    """

    sha256: str
    width: int
    height: int
    tiled: bool
    label: str
    open: Callable[[], Image.Image] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Turn:
    """`role`: system, user or assistant. `content` has one `<image>` at the position of each image."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """The turns so far, ending with a question. `slots` lists the images in the order of their `<image>` tokens."""

    turns: tuple[Turn, ...]
    slots: tuple[Slot, ...]
    style: VideoPrompt = "processor"

    @property
    def text(self) -> str:
        """The exact text, up to the start of the answer."""
        if self.style == "vlmevalkit":
            return "".join(vlmevalkit_turn_text(t.role, t.content) for t in self.turns)[:-2] + f" \n{ASSISTANT_CUE}"
        turns = (turn_text(t.role, t.content, image_first=t.content.startswith(IMAGE_SLOT)) for t in self.turns)
        return START + "".join(turns) + ASSISTANT_CUE

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of the text and the images. Two prompts with the same fingerprint are the same input."""
        parts = [self.text, *(f"{slot.sha256} {slot.tiled}" for slot in self.slots)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


OpenMedia = Callable[[str], Image.Image]  # sha256 → decoded image


def build_prompt(
    messages: Sequence[Message],
    open_media: OpenMedia,
    system_prompt: str = "",
    video_prompt: VideoPrompt = "processor",
) -> Prompt:
    """Build the prompt of a conversation that ends with a question. The same messages always give the same prompt.

    Images are not opened here. Each slot opens its image with `open_media` when a backend needs it. `video_prompt`: how a
    clip is introduced, as SmolVLM2's processor does or as VLMEvalKit does. It has no effect on conversations without a clip.

    Raises:
        PromptError: there is no question, the text contains reserved tokens, or one turn mixes images and a clip or
            has several clips.
    """
    if not messages or messages[-1].role != "user":
        raise PromptError("There is no question to answer.", "Type a question.")
    has_clip = any(a.kind == "video" and a.shown for message in messages for a in message.attachments)
    style: VideoPrompt = video_prompt if has_clip else "processor"
    turns, slots = [], []
    if style == "vlmevalkit" and not system_prompt.strip():
        system_prompt = VLMEVALKIT_SYSTEM
    if system_prompt.strip():
        check_text(system_prompt)
        turns.append(Turn("system", valid_text(system_prompt).strip()))
    for message in messages:
        for text in message.pieces or (message.text,):
            check_text(text)
        content, turn_slots = _content(message, open_media, style)
        turns.append(Turn(message.role, content))
        slots += turn_slots
    return Prompt(tuple(turns), tuple(slots), style)


def check_text(text: str) -> None:
    """Raises PromptError if the text spells out a special token of the chat format."""
    if reserved := reserved_tokens(text):
        raise PromptError(
            f"Your text contains {reserved[0]}, which the model's chat format reserves.",
            "Change its spelling, for example by adding a space inside the brackets.",
        )


def _content(message: Message, open_media: OpenMedia, style: VideoPrompt) -> tuple[str, list[Slot]]:
    """The content of a turn and its slots: images first, then the clip, then the text, unless images have places in the text."""
    shown = [a for a in message.attachments if a.shown]
    images = [a for a in shown if a.kind == "image"]
    videos = [a for a in shown if a.kind == "video"]
    if len(videos) > 1:
        raise PromptError(f"A turn can have one clip. This one has {len(videos)}.", "Remove all but one.")
    if images and videos:
        raise PromptError("A turn can have images or a clip, not both.", "Ask about them in separate turns.")
    slots = [
        Slot(
            sha256=a.sha256,
            width=a.width,
            height=a.height,
            tiled=a.tiled,
            label=a.name,
            open=partial(open_media, a.sha256),
        )
        for a in images
    ]
    if message.pieces:
        return IMAGE_SLOT.join(valid_text(piece) for piece in message.pieces), slots
    if not videos:
        return IMAGE_SLOT * len(images) + valid_text(message.text).strip(), slots
    clip = videos[0]
    if not clip.frames:
        raise PromptError(f"No frames were selected from {clip.name}.", "Select a range that contains frames.")
    slots += _frame_slots(clip, open_media)
    times = [f.timestamp_seconds for f in clip.frames]
    intro = vlmevalkit_video_text(times) if style == "vlmevalkit" else video_text(times, clip.duration_seconds)
    return intro + valid_text(message.text).strip(), slots


def _frame_slots(clip: Attachment, open_media: OpenMedia) -> list[Slot]:
    return [
        Slot(
            sha256=f.sha256,
            width=clip.width,
            height=clip.height,
            tiled=False,
            label=f"{clip.name} at {time_text(f.timestamp_seconds, 2)}",
            open=partial(open_media, f.sha256),
        )
        for f in clip.frames
    ]

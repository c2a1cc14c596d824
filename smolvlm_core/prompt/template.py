"""SmolVLM2's chat format as text: special tokens, roles, image slots, video frames. Does not know files, models or token IDs.

Source: transformers 5.23.0, `models/smolvlm/processing_smolvlm.py` (default chat template, video intro, frame line and
closing). The published checkpoints were trained on this format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, get_args

START = "<|im_start|>"
IMAGE = "<image>"
END_OF_UTTERANCE = "<end_of_utterance>"
FAKE_TOKEN = "<fake_token_around_image>"  # before each tile, and after the last one
GLOBAL_TOKEN = "<global-img>"  # before the overview of an image
FIRST_TILE = "<row_1_col_1>"
PAD = "<|im_end|>"  # also the end of a turn in ChatML, which SmolVLM2 does not use
UNKNOWN = "<|endoftext|>"
RESERVED = (IMAGE, END_OF_UTTERANCE, START, PAD, FAKE_TOKEN, GLOBAL_TOKEN, UNKNOWN)
TILE_PATTERN = re.compile(r"<row_\d+_col_\d+>")
ASSISTANT_CUE = "Assistant:"
VIDEO_CLOSING = "\n\n"
VideoPrompt = Literal["processor", "vlmevalkit"]
VIDEO_PROMPTS: tuple[VideoPrompt, ...] = get_args(VideoPrompt)
VLMEVALKIT_SYSTEM = "pay attention to the video and answer the question"


def reserved_tokens(text: str) -> list[str]:
    """The special tokens that `text` spells out. A tokenizer would read them as part of the chat format."""
    return [*(token for token in RESERVED if token in text), *TILE_PATTERN.findall(text)]


def turn_text(role: str, content: str, *, image_first: bool) -> str:
    """One turn: `User:<image>…` if an image comes first, `User: …` if text does, including the intro of a video."""
    return f"{role.capitalize()}:{'' if image_first else ' '}{content}{END_OF_UTTERANCE}\n"


def video_text(timestamps_seconds: Sequence[float], duration_seconds: float) -> str:
    """The intro of a clip, one line with an image slot per frame, and the closing."""
    from num2words import num2words

    lines = "".join(f"\nFrame from {clock(seconds)}:{IMAGE}" for seconds in timestamps_seconds)
    count = num2words(len(timestamps_seconds))
    length = timedelta(seconds=int(duration_seconds))
    return f"You are provided the following series of {count} frames from a {length} [H:MM:SS] video.\n{lines}{VIDEO_CLOSING}"


def clock(seconds: float) -> str:
    """A timestamp as MM:SS. Minutes can exceed 59."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


def vlmevalkit_turn_text(role: str, content: str) -> str:
    """A turn as VLMEvalKit writes it: each with a start, and a space around everything."""
    return f"{START}{role.capitalize()}: {content} {END_OF_UTTERANCE}\n "


def vlmevalkit_video_text(timestamps_seconds: Sequence[float]) -> str:
    """The other way to show a clip: published scores of SmolVLM2 were probably measured with it.

    Source: open-compass/VLMEvalKit, vlmeval/vlm/smolvlm.py, `SmolVLM2.build_prompt_video` (parts joined by spaces).
    """
    lines = "".join(f"Frame from {clock(seconds)}: {IMAGE} " for seconds in timestamps_seconds)
    return f"Here are some frames sampled from a video:\n {lines}\n "

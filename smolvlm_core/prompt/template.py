"""SmolVLM2's chat format as text: special tokens, roles, image slots, video frames. Does not know files, models or token IDs.

Source: transformers 5.23.0, `models/smolvlm/processing_smolvlm.py` (default chat template, video intro, frame line and
closing). The published checkpoints were trained on this format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

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

"""SmolVLM2's chat format as text: roles, image slots, video frames. Knows no files, no models, no tokens.

Facts from transformers 5.23.0, `models/smolvlm/processing_smolvlm.py` (default chat template, video intro, frame
line and closing), which the published checkpoints were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

START = "<|im_start|>"
IMAGE = "<image>"
END_OF_UTTERANCE = "<end_of_utterance>"
ASSISTANT_CUE = "Assistant:"
VIDEO_CLOSING = "\n\n"


def turn_text(role: str, content: str, *, image_first: bool) -> str:
    """One turn: `User:<image>…` where an image comes first, `User: …` where text (a video's intro too) does."""
    return f"{role.capitalize()}:{'' if image_first else ' '}{content}{END_OF_UTTERANCE}\n"


def video_text(timestamps_seconds: Sequence[float], duration_seconds: float) -> str:
    """A clip's intro, one line with an image slot per frame, and the closing."""
    from num2words import num2words

    lines = "".join(f"\nFrame from {clock(seconds)}:{IMAGE}" for seconds in timestamps_seconds)
    count = num2words(len(timestamps_seconds))
    length = timedelta(seconds=int(duration_seconds))
    return f"You are provided the following series of {count} frames from a {length} [H:MM:SS] video.\n{lines}{VIDEO_CLOSING}"


def clock(seconds: float) -> str:
    """MM:SS; minutes run past 59."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"

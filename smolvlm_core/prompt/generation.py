"""How an answer is generated, and what it took. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BLINK_SECONDS = 0.5
StopReason = Literal["end", "length", "context", "cancelled", "failed"]


@dataclass(frozen=True)
class GenerationSettings:
    """`temperature` 0 is greedy. The same seed and settings give the same answer on the same machine.

    Raises:
        ValueError: a value outside its range, and the range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    system_prompt: str = ""

    def __post_init__(self) -> None:
        ranges = {
            "max_new_tokens": (1, 8192),
            "temperature": (0.0, 5.0),
            "top_p": (0.01, 1.0),
            "repetition_penalty": (0.5, 3.0),
            "seed": (0, 2**63 - 1),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; {low} to {high} is allowed")


@dataclass(frozen=True)
class Stats:
    """What one answer took.

    Attributes:
        image_tokens: of the prompt, where known; 0 otherwise.
        reused_tokens: of the prompt, found in the key-value cache of the turn before.
        time_to_first_token_seconds: from the moment the model begins on the question to its first token. Waiting for other
            answers and loading are not part of it.
        queued_seconds: waiting for other answers of the same model.
        load_seconds: loading the weights or starting the server for this answer.
        total_seconds: from asking to the end, waiting and loading included.
        peak_memory_bytes: of everything in `memory_of` ("the app's RAM", its other models included).
        weights_bytes: of this model alone; 0 where unknown.
    """

    stop_reason: StopReason
    image_tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    new_tokens: int = 0
    time_to_first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    total_seconds: float = 0.0
    queued_seconds: float = 0.0
    load_seconds: float = 0.0
    peak_memory_bytes: int = 0
    memory_of: str = ""
    weights_bytes: int = 0
    prompt_fingerprint: str = ""

    def summary(self) -> str:
        """One line for people: times, speed, tokens. Waiting and loading are named where they took more than a blink."""
        parts = []
        if self.queued_seconds > BLINK_SECONDS:
            parts.append(f"waited {self.queued_seconds:.1f} s")
        if self.load_seconds > BLINK_SECONDS:
            parts.append(f"loaded in {self.load_seconds:.1f} s")
        if self.time_to_first_token_seconds is not None:
            parts.append(f"first token {self.time_to_first_token_seconds:.2f} s")
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        text_tokens = self.prompt_tokens - self.image_tokens
        if self.image_tokens:
            parts.append(f"{self.image_tokens} image + {max(text_tokens, 0)} text tokens")
        else:
            parts.append(f"{self.prompt_tokens} prompt tokens")
        return " · ".join([*parts, f"{self.new_tokens} new"])


@dataclass(frozen=True)
class Progress:
    """What happens before the first token, in words. `fraction` is 0 to 1, None where it is unknown."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class Delta:
    """A piece of the answer."""

    text: str


Event = Progress | Delta | Stats
ProgressListener = Callable[[Progress], None]

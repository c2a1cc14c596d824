"""How an answer is generated, and what it took. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    """What one answer took. `reused_tokens` of the prompt were still in the key-value cache of the turn before.
    `peak_memory_bytes` is all that `memory_of` held ("the app's RAM", say, its other models included); `weights_bytes` of it are
    this model's, 0 where that is not known."""

    stop_reason: StopReason
    image_tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    new_tokens: int = 0
    time_to_first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    total_seconds: float = 0.0
    queued_seconds: float = 0.0
    peak_memory_bytes: int = 0
    memory_of: str = ""
    weights_bytes: int = 0
    prompt_fingerprint: str = ""

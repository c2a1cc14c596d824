"""Generation settings, the events of an answer, and its statistics. Plain data: does not know models or backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

NOTICEABLE_SECONDS = 0.5
MAX_TOP_LOGPROBS = 20  # as in OpenAI's API
StopReason = Literal["end", "length", "context", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """A `temperature` of 0 means greedy decoding. The same seed and settings give the same answer on the same machine.

    `top_logprobs`: with each token, the log probabilities of it and of so many likely ones; None for none. `json_schema`: a JSON
    schema as text that the answer must follow. Both only where the backend's capabilities say so.

    Raises:
        ValueError: a value is outside its range. The message names the value and the range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    system_prompt: str = ""
    top_logprobs: int | None = None
    json_schema: str = ""

    def __post_init__(self) -> None:
        ranges = {
            "max_new_tokens": (1, 8192),
            "temperature": (0.0, 5.0),
            "top_p": (0.01, 1.0),
            "repetition_penalty": (0.5, 3.0),
            "seed": (0, 2**63 - 1),
            "top_logprobs": (0, MAX_TOP_LOGPROBS),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {value}; {low} to {high} is allowed")


@dataclass(frozen=True)
class Stats:
    """Statistics of one answer.

    Attributes:
        image_tokens: image tokens in the prompt; 0 if unknown.
        reused_tokens: prompt tokens reused from the key-value cache of an earlier turn.
        known_tiles: tiles whose features were in the cache, since they were encoded before. Tiles of reused tokens are not counted.
        time_to_first_token_seconds: from the start of prefill to the first token. Excludes queueing and loading.
        queued_seconds: time spent waiting for other answers of the same model.
        load_seconds: time spent loading the weights or starting the server for this answer.
        total_seconds: from the request to the end, including queueing and loading.
        peak_memory_bytes: peak of everything in `memory_of` ("the app's RAM" includes the app's other models).
        weights_bytes: size of this model's weights; 0 if unknown.
    """

    stop_reason: StopReason
    _: KW_ONLY
    image_tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    known_tiles: int = 0
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
        """Times, speed and tokens in one line. Queueing and loading appear only if they took noticeable time."""
        parts = []
        if self.queued_seconds > NOTICEABLE_SECONDS:
            parts.append(f"waited {self.queued_seconds:.1f} s")
        if self.load_seconds > NOTICEABLE_SECONDS:
            parts.append(f"loaded in {self.load_seconds:.1f} s")
        if self.time_to_first_token_seconds is not None:
            parts.append(f"first token {self.time_to_first_token_seconds:.2f} s")
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        text_tokens = self.prompt_tokens - self.image_tokens
        if self.image_tokens:
            parts.append(f"{self.image_tokens:,} image + {max(text_tokens, 0):,} text tokens")
        else:
            parts.append(f"{self.prompt_tokens:,} prompt tokens")
        return " · ".join([*parts, f"{self.new_tokens:,} new"])


@dataclass(frozen=True)
class Progress:
    """What happens before the first token, as text for users. `fraction` is 0 to 1, or None if unknown."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """A token as text and its natural log probability before temperature, with the likeliest tokens of that place first."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """The next piece of the answer. `logprobs`: of the tokens in it, where they were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


Event = Progress | Delta | Stats
ProgressListener = Callable[[Progress], None]

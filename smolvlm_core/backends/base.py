"""The contract of a backend. A new backend is one new file beside this one, and its tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

from smolvlm_core.prompt.build import Prompt

StopReason = Literal["end", "length", "context", "cancelled", "failed"]


@dataclass(frozen=True)
class Capabilities:
    """Read from the model or server itself. `max_images` is None where only the context limits it."""

    images: bool
    video: bool
    streaming: bool
    context_tokens: int
    max_images: int | None = None


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
class Progress:
    """What goes on before the first word, in words; `fraction` is 0 to 1, None where it cannot be told."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class Delta:
    text: str


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


Event = Progress | Delta | Stats


class Backend(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str:
        """Which weights answered, once that is known."""
        ...

    def capabilities(self) -> Capabilities: ...

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """Progress before the first Delta; Stats last, always: after a cancelled or failed run too.

        A failure is raised as a LensError after the Stats. A prompt that cannot be served is refused (LensError)
        before anything starts; it is never changed.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class SelfDescribed(Protocol):
    """A backend that refuses pictures where a server's description of its model says that it takes none."""

    def unbelieving(self) -> Self:
        """The same, but it sends pictures whatever the description says: what is true, the answers tell."""
        ...


@runtime_checkable
class Startable(Protocol):
    """A backend with something to start before it can answer."""

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """Have it ready for a prompt: Progress, then Stats without figures. Raises LensError where it cannot be started."""
        ...

    @property
    def load_seconds(self) -> float | None:
        """What its start took, now or earlier; None where that is not known."""
        ...

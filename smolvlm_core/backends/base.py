"""The contract of a backend. A new backend is one new file beside this one, and its tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings, Stats


@dataclass(frozen=True)
class Capabilities:
    """Read from the model or server itself. `max_images` is None where only the context limits it."""

    images: bool
    video: bool
    streaming: bool
    context_tokens: int
    max_images: int | None = None


@dataclass(frozen=True)
class Progress:
    """What goes on before the first word, in words; `fraction` is 0 to 1, None where it cannot be told."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class Delta:
    text: str


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

"""The contract of a backend. A new backend is one file that defines a `Backend` and its `Entry`, and registers the entry.

Knows prompts and settings. Does not know any particular backend, nor who asks.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

from smolvlm_core.errors import LensError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, ProgressListener, Stats, TokenLogprob
from smolvlm_core.work.pool import LoadState, Pool
from smolvlm_core.work.report import Report

THIS_MACHINE = "this machine"
REMOTE = "Remote server: contacted when you send a question"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Read from the model or server itself. `max_images` is None where only the context limits it.

    `logprobs`, `json_schema`: whether it can do what the settings of that name ask for.
    """

    images: bool
    video: bool
    streaming: bool
    context_tokens: int
    max_images: int | None = None
    logprobs: bool = False
    json_schema: bool = False


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a backend stands. `text` is for people. `busy`: it loads or answers, so the status is about to change.

    `fraction` is 0 to 1, None where it is unknown.
    """

    state: LoadState | Literal["remote"]
    text: str = ""
    fraction: float | None = None
    memory_bytes: int = 0
    busy: bool = False
    error: LensError | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole answer. `text` is empty where nothing was said."""

    text: str
    stats: Stats
    logprobs: tuple[TokenLogprob, ...] = ()


class Cause(NamedTuple):
    """A likely reason why a backend does not see, and what to do about it."""

    cause: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class SelfTestResult:
    """`is_better`: it answers like the entry that it comes with, and sooner. `text`: what was measured, for people."""

    is_better: bool
    text: str


class SelfTest(ABC):
    """Compares a companion with the entry that it comes with, on this machine."""

    @abstractmethod
    def result(self) -> SelfTestResult | None:
        """For these files and versions; None where they were not tested."""

    @abstractmethod
    def run(self, pool: Pool, report: Report, cancel: threading.Event) -> SelfTestResult:
        """Test, and remember the result. Raises LensError where it was stopped, or cannot be tested now."""


class Backend(ABC):
    """Answers prompts. Cheap to make: weights are loaded and servers are contacted only when needed.

    Attributes:
        kind: how it runs, for people: "transformers", "llama.cpp", "Ollama".
        spec: what the model costs; estimates for a remote server.
        name: shown with each answer.
        note: what a user should know of this model; "" for nothing.
        warning: why it cannot see pictures, where that is known before it is asked; else "".
        verdict_expires: whether a "sees" verdict lapses after a day, since the model behind an address can change.
    """

    kind: ClassVar[str]
    verdict_expires: ClassVar[bool] = False
    spec: ModelSpec
    name: str
    note: str = ""
    warning: str = ""

    # What it is

    @abstractmethod
    def identity(self) -> str:
        """What a verdict holds for: these files as they are now, or this model at this address."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Raises BackendError where a server cannot be reached."""

    @property
    def revision(self) -> str:
        """Which weights answered; "" until that is known."""
        return ""

    @property
    def device(self) -> str:
        """Where it computes: this machine, or a host by name. Backends on one device take turns when they are measured."""
        return THIS_MACHINE

    def files(self) -> tuple[Path, ...]:
        """Its weights on this machine, for hashes. Empty for a remote server."""
        return ()

    def describe(self) -> str:
        """Size and token costs in one line."""
        return f"About {self.spec.describe_costs()}."

    @property
    def reads_text(self) -> bool:
        """Whether a model of this kind should read digits and words."""
        return True

    # How it runs

    def status(self) -> Status:
        return Status(state="remote", text=REMOTE)

    def preload(self) -> None:
        """Start loading in the background, where there is something to load and no download is needed."""
        return

    def retry(self) -> None:
        """Try a failed load again."""
        return

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """Get ready to answer: Progress, then Stats without figures. Raises LensError where it cannot be loaded."""
        yield Stats("end")

    @property
    def load_seconds(self) -> float | None:
        """What the last load took; None where that is unknown."""
        return None

    def memory_bytes(self, prompt: Prompt, settings: GenerationSettings) -> int:
        """The predicted peak memory of the model with one answer; 0 where that is unknown. Loads nothing."""
        return 0

    @abstractmethod
    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """Progress before the first Delta; Stats last, always: after a cancelled or failed run too.

        Raises:
            LensError: after the Stats, where the run failed. A prompt that cannot be served is refused before anything
                starts; it is never changed.
        """

    def close(self) -> None:
        """Release what it loaded, after the answer it may be making."""
        return

    def cold(self) -> Self | None:
        """The same backend, but it uses nothing that earlier answers left in caches. None: the app has no say in that."""
        return None

    # Its vision encoder, where it runs in this process

    def vision_encoders(self) -> tuple[str, ...]:
        """Names to choose from, the automatic choice first; empty where there is no choice, or before it is loaded."""
        return ()

    @property
    def wanted_encoder(self) -> str:
        """The one that was chosen. Only where `vision_encoders` has names."""
        return ""

    def want_encoder(self, name: str) -> None:
        """Choose one, from the next question on. Raises StoreError where the choice cannot be stored."""
        return

    # What the vision check asks

    def without_self_report(self) -> Self:
        """The same backend, but it sends pictures even where a server says that its model takes none."""
        return self

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        """Likely causes that only this kind of backend can find, the likeliest first.

        Args:
            verdict: "blind" or "degraded".
            unseen: for a model that sees shapes, what it does not see: "clips", "text".
        """
        return ()


@dataclass(frozen=True, kw_only=True)
class Entry(ABC):
    """A backend that can be chosen, as plain data that is stored as JSON. `make` builds the backend.

    `added`: a user added it, so it can be removed. `key` is unique and stable; `title` is for people.
    """

    kind: ClassVar[str]  # names the class in the stored list
    precisions: ClassVar[tuple[str, ...]] = ()  # of the weights, where the backend can choose

    key: str
    title: str
    added: bool = False

    @property
    def label(self) -> str:
        """What a list of models shows."""
        return f"{self.title} · {self.kind}"

    def label_of(self, precision: str) -> str:
        """The label of one precision, where a list shows several."""
        return self.label

    @property
    def is_on_this_machine(self) -> bool:
        """False where its weights must be downloaded first."""
        return True

    @abstractmethod
    def make(self, pool: Pool, precision: str = "") -> Backend:
        """Raises LensError where its files are gone or damaged."""

    def release(self, pool: Pool) -> None:
        """Release from memory what its backends loaded."""
        for precision in self.precisions or ("",):
            try:
                self.make(pool, precision).close()
            except LensError:
                return  # its files are gone

    def replaces(self, other: Entry) -> bool:
        """Whether adding this entry removes the other."""
        return self.key == other.key

    @classmethod
    def discover(cls) -> Iterable[Entry]:
        """Those found on this machine without being added. Called in the background."""
        return ()

    @classmethod
    def companion_of(cls, entry: Entry) -> Entry | None:
        """An entry of this kind that comes with another one. None: this kind has none, or not on this machine."""
        return None

    @property
    def self_test(self) -> SelfTest | None:
        """How a companion proves itself before it becomes the default; None for other entries."""
        return None

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """The entry that a name on the command line means; None: not of this kind. Raises LensError where it cannot be used."""
        return None


def collect(events: Iterable[Event], on_progress: ProgressListener = lambda progress: None) -> Reply:
    """Read an answer to its end. Raises what the backend raises, after its Stats.

    `on_progress` gets each Progress as it comes.
    """
    text, stats = "", Stats("failed")
    logprobs: list[TokenLogprob] = []
    for event in events:
        if isinstance(event, Delta):
            text += event.text
            logprobs += event.logprobs
        elif isinstance(event, Stats):
            stats = event
        else:
            on_progress(event)
    return Reply(text=text, stats=stats, logprobs=tuple(logprobs))

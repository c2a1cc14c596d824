"""What a live session is asked for and what comes of it. Plain data: does not know sources, backends or files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from smolvlm_core.live.alerts import Alert
from smolvlm_core.prompt.generation import GenerationSettings, Stats

Detail = Literal["fast", "full"]
EDGES: dict[Detail, int] = {"fast": 640, "full": 1280}  # px: the longer side of a frame
MAX_ALERTS = 4
MIN_MINUTES, MAX_MINUTES = 1, 24 * 60


@dataclass(frozen=True, kw_only=True)
class LiveRequest:
    """What a session asks, of which model.

    Attributes:
        entry: key of a backend in the registry, `precision` of its weights.
        question: asked of each frame; "" for alerts alone.
        change: ask only when at least this share of the picture (0 to 1) changed since the last question; None: as often as possible.
        detail: "fast" gives the model each frame as one tile, "full" in tiles, as the picture of a chat.
        minutes: after which the session ends by itself.

    Raises:
        ValueError: a value is outside its range.
    """

    entry: str
    precision: str = ""
    question: str = ""
    alerts: tuple[Alert, ...] = ()
    change: float | None = None
    detail: Detail = "fast"
    minutes: int = 60
    settings: GenerationSettings = field(default_factory=lambda: GenerationSettings(max_new_tokens=64))

    def __post_init__(self) -> None:
        if self.change is not None and not 0 <= self.change <= 1:
            raise ValueError(f"change is {self.change}; 0 to 1 is allowed")
        if not MIN_MINUTES <= self.minutes <= MAX_MINUTES:
            raise ValueError(f"minutes is {self.minutes}; {MIN_MINUTES} to {MAX_MINUTES} is allowed")
        if len(self.alerts) > MAX_ALERTS:
            raise ValueError(f"there are {len(self.alerts)} alerts; {MAX_ALERTS} are allowed")

    @property
    def questions(self) -> tuple[str, ...]:
        """In the order in which each frame is asked: the question, then those of the alerts."""
        return (*([self.question] if self.question else []), *(alert.question for alert in self.alerts))


@dataclass(frozen=True, kw_only=True)
class LiveAnswer:
    """`yes`: the probability of yes, for the question of an alert. `error`: why there is no answer, as a sentence."""

    question: str
    text: str = ""
    yes: float | None = None
    error: str = ""
    prompt: str = ""
    stats: Stats | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A frame that was asked about.

    Attributes:
        segment: its number in the store of timelines; None where it could not be stored.
        seconds: when the frame was, since the session began; of a clip, its time in the clip.
        when: when the frame was, in seconds since 1970.
        latency_seconds: from the frame to the end of the last answer about it.
        skipped: frames since the entry before that were replaced by newer ones while the model was busy.
        unchanged: frames since the entry before that were too much like the last one that was asked about.
        changed: the share of the picture that changed since the entry before; None for the first one.
        sha256: of the frame's JPEG, which is what the model was given.
        events: the questions of the alerts that it set off.
    """

    segment: int | None
    seconds: float
    when: float
    latency_seconds: float
    skipped: int
    unchanged: int
    changed: float | None
    sha256: str
    width: int
    height: int
    answers: tuple[LiveAnswer, ...]
    events: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AlertEvent:
    """An alert that went off. `yes`: the probability. `segment`: of the entry with the frame; None where it could not be stored."""

    question: str
    yes: float
    seconds: float
    when: float
    sha256: str
    segment: int | None = None
    width: int = 0
    height: int = 0

"""What a search for moments will ask, before it starts: times, windows, budget. Pure: does not know clips' files or models."""

from __future__ import annotations

from dataclasses import dataclass

from smolvlm_core.timeline.moments.wording import Wording
from smolvlm_core.times import length_text
from smolvlm_core.video import ClipFacts

BUDGET = 240  # questions that are asked first
MAX_QUESTIONS = 20_000  # that are asked first, whatever the interval and the budget
SHORTEST_INTERVAL = 0.5  # seconds, where none is given
WINDOW_FRAMES = 3
WINDOW_INTERVALS = (2, 4, 6)  # a slow motion is looked for in longer windows
REFINING = 8  # questions for each moment, at most
MAX_REFINED = 32  # moments

Times = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be asked.

    Attributes:
        times: of the questions, in seconds, ascending.
        interval_seconds: between two frames. Windows of a few frames overlap: one begins every half interval.
        frames: shown with each question.
    """

    times: Times
    interval_seconds: float
    frames: int = 1

    @property
    def refines(self) -> bool:
        """Whether moments are found to the exact frame. A motion is not in one frame."""
        return self.frames == 1

    @property
    def most_questions(self) -> int:
        """What it can come to."""
        count = len(self.times)
        return count + MAX_REFINED * REFINING if self.refines else count * len(WINDOW_INTERVALS)

    def describe(self) -> str:
        """One line, for people: the budget."""
        count = len(self.times)
        questions = f"{count:,} question{'' if count == 1 else 's'}"
        every = length_text(self.interval_seconds)
        if self.refines:
            return (
                f"{questions}, about a frame every {every}. "
                f"Then up to {REFINING} more for each moment, to find its exact frame."
            )
        return (
            f"{questions}, about {self.frames} frames each, {every} apart. "
            f"Then up to {self.most_questions - count:,} more about longer parts, where the motion is slow."
        )

    def window(self, middle: float, intervals: int, last_seconds: float) -> Times:
        """Frames around a time, and all within the clip."""
        half = min(intervals * self.interval_seconds, last_seconds) / 2
        middle = min(max(middle, half), last_seconds - half)
        return tuple(middle - half + 2 * half * i / (self.frames - 1) for i in range(self.frames))


def plan_for(facts: ClipFacts, wording: Wording, interval_seconds: float | None = None, budget: int = BUDGET) -> Plan:
    """`interval_seconds`: None for one that keeps the `budget`. One that is given is kept.

    Raises:
        ValueError: the interval is shorter than a frame, the budget below 2, or there are more than MAX_QUESTIONS.
    """
    if budget < 2 or (interval_seconds is not None and not interval_seconds > 0):
        raise ValueError(f"interval is {interval_seconds}, budget {budget}; above 0, and at least 2 are needed")
    last, steps = facts.last_frame_seconds, 2 if wording.motion else 1
    step = interval_seconds / steps if interval_seconds else max(SHORTEST_INTERVAL, last / (budget - 1))
    _check(facts, interval_seconds, int(last / step) + 1)
    times = [i * step for i in range(int(last / step + 1e-9) + 1)]
    if last - times[-1] > step / 2:
        times.append(last)
    return Plan(times=tuple(times), interval_seconds=step * steps, frames=WINDOW_FRAMES if wording.motion else 1)


def _check(facts: ClipFacts, interval_seconds: float | None, questions: int) -> None:
    """Raises ValueError as `plan_for`."""
    frame = 1 / max(facts.fps, 1.0)
    if interval_seconds is not None and interval_seconds < 0.99 * frame:
        raise ValueError(f"interval is {interval_seconds:g} s; a frame of this clip lasts {frame:.3g} s, the minimum")
    if questions > MAX_QUESTIONS:
        raise ValueError(f"{questions:,} questions are too many; at most {MAX_QUESTIONS:,}: use a longer interval")

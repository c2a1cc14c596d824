"""What a search for moments gives: plain data that is stored and exported as JSON. Does not know clips or backends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from smolvlm_core.fields import read_object
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.times import Range, time_text

MomentKind = Literal["begins", "ends", "changes"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A change in the answer.

    Attributes:
        seconds: the first frame with the new answer, as far as it was looked for.
        before_seconds: the last frame known to have the old one: the change lies between the two.
        until_seconds: when the new answer ends, or the clip.
        probability: of the new answer, on average over the frames that follow, 0 to 1.
        text: what happens, without its subject: "appears", "from red to blue".
    """

    kind: MomentKind
    seconds: float
    before_seconds: float
    until_seconds: float
    probability: float
    text: str

    @property
    def range_seconds(self) -> Range:
        return self.seconds, self.until_seconds

    def describe(self) -> str:
        """ "0:12.4 appears (98%)"."""
        return f"{time_text(self.seconds, 1)} {self.text} ({self.probability:.0%})"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The answers over a clip.

    Attributes:
        typed: the user's question. `asked`: what the model was asked about each frame.
        times: in seconds, ascending. `probabilities`: of *yes*, or of the word in `answers`; None where the answer was unclear.
        answers: the word that was answered at each time, for questions such as "What color is the circle?"; empty for yes or no.
        interval_seconds: between two times. `frames`: shown with each question. `window_seconds`: that they span, at most.
        moments: by time. `notes`: what was unclear or unusual, in words. `questions`: how many the model answered.
        complete: False where it was stopped.
        created: seconds since 1970.
    """

    typed: str
    asked: str
    interval_seconds: float
    duration_seconds: float
    times: tuple[float, ...] = ()
    probabilities: tuple[float | None, ...] = ()
    answers: tuple[str, ...] = ()
    moments: tuple[Moment, ...] = ()
    notes: tuple[str, ...] = ()
    frames: int = 1
    window_seconds: float = 0.0
    model: str = ""
    weights: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    questions: int = 0
    complete: bool = True
    created: float = 0.0

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Any) -> Curve:
        """Raises FieldError where it is not a curve."""
        return read_object(cls, row)

    def describe(self) -> str:
        """How many moments, in words."""
        count = len(self.moments)
        return f"{count} moment{'' if count == 1 else 's'}" if count else "No such moment"

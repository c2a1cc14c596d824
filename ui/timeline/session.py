"""What one browser session remembers of the Timeline view."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from smolvlm_core.timeline.records import Cut
from smolvlm_core.timeline.summary.records import SUMMARIZE

NEW = ""
LISTED = 50
SHOWN_FOR = 1.0  # seconds: runs that follow at once may replace the one before in the browser


@dataclass
class TimelineForm:
    """What is set for a new timeline. `prompt`: None where nobody wrote one. `questions`: one a line. `round`: raised to fill the fields from here."""

    prompt: str | None = None
    questions: str = ""
    cut: Cut = field(default_factory=Cut)
    round: int = 0


@dataclass
class TimelineSession:
    """The Timeline view of the Video page.

    Attributes:
        shown: the page shows the timeline instead of the chat.
        open: identity of the timeline that is shown, `NEW` for the form, None for the newest of the clip.
        seek: where the player has to go once, in seconds, and how many times it was told so. `seek_clip`: the clip's SHA-256.
        reveal: the segment that the list has to show once, and how many times it was told so.
        drawn: when the page first did so (monotonic clock); None where it did not yet.
        deleting: identity of the timeline to confirm.
        given: the segment whose "What the model was given" is to open.
        changed: words were edited, so what is made of them has to be drawn again.
        question: what is asked about the whole clip. `summary_problem`, `compare_problem`: why something did not start, to show once.
        listed: how many timelines are listed where no clip is open.
        moments: the question about moments that is typed, by SHA-256 of the clip. `curve`: the one that is shown, by its question.
        problem: why the last change was not made, to show once.
    """

    shown: bool = False
    open: str | None = None
    form: TimelineForm = field(default_factory=TimelineForm)
    seek: tuple[float, int] = (0.0, 0)
    seek_clip: str = ""
    reveal: tuple[int, int] = (0, 0)
    drawn: float | None = None
    deleting: str | None = None
    given: int | None = None
    moments: dict[str, str] = field(default_factory=dict)
    curve: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    changed: bool = False
    question: str = SUMMARIZE
    summary_problem: str = ""
    compare_problem: str = ""
    listed: int = LISTED

    def go_to(self, clip: str, seconds: float, segment: int | None = None) -> None:
        """From the next run of the page. In the browser, an event `lens-seek` does the same (ui/clip/player.js)."""
        self.seek, self.seek_clip, self.drawn = (seconds, self.seek[1] + 1), clip, None
        self.reveal = segment or 0, self.reveal[1] + 1

    def due(self, clip: str) -> tuple[tuple[float, int], tuple[int, int]]:
        """`seek` and `reveal` for this clip; nothing (number 0) once they were drawn."""
        if clip != self.seek_clip:
            return (0.0, 0), (0, 0)
        now = time.monotonic()
        self.drawn = now if self.drawn is None else self.drawn
        if now - self.drawn > SHOWN_FOR:
            self.seek_clip = ""
            return (0.0, 0), (0, 0)
        return self.seek, self.reveal

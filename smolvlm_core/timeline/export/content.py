"""What an export is made of: a timeline, its segments, and where their frames are. Knows no format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from smolvlm_core.text import in_reading_order, valid_text
from smolvlm_core.timeline.moments.curve import Curve
from smolvlm_core.timeline.records import CAPTION, Segment, Timeline, leaves
from smolvlm_core.timeline.summary.records import Summary, Verdict

VERDICTS: dict[Verdict, str] = {
    "supported": "Supported by its frames",
    "unsupported": "Not supported by its frames",
    "unclear": "Could not be checked",
    "open": "Not checked yet",
}


@dataclass(frozen=True, kw_only=True)
class Content:
    """Attributes:
    segments: of all levels.
    clip: the clip's file; None where it is gone, or there never was one (a live session).
    thumbnail: a small JPEG of a frame, by segment and position; None where there is none.
    summaries, curves: what is kept with the timeline and its clip, the newest first.
    picture: the whole frame, where the clip's file is not needed for it. Raises LensError.
    """

    timeline: Timeline
    segments: tuple[Segment, ...]
    clip: Path | None = None
    thumbnail: Callable[[int, int], bytes | None] = lambda segment, position: None
    picture: Callable[[int, int], Image.Image] | None = None
    summaries: tuple[Summary, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def leaves(self) -> list[Segment]:
        """Each moment once, by time."""
        return leaves(list(self.segments))

    @property
    def chapters(self) -> list[Segment]:
        """The longest segments, by time."""
        found = [segment for segment in self.segments if segment.parent is None]
        return sorted(found, key=lambda segment: (segment.start_seconds, segment.identity))

    @property
    def questions(self) -> dict[int, str]:
        """The columns but the description, by number."""
        return {number: question for number, question in sorted(self.timeline.columns.items()) if number != CAPTION}


def plain(text: str) -> str:
    """Text that any file can hold: no control characters but tabs and line feeds, and none that turn the reading direction."""
    text = in_reading_order(valid_text(text)).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f") else "\ufffd" for c in text)


def lines_of(text: str) -> list[str]:
    """The lines of a text that have something in them. An empty one would end a subtitle."""
    return [
        line.strip()
        for line in plain(text).replace("\u2028", "\n").replace("\u2029", "\n").splitlines()
        if line.strip()
    ]


def one_line(text: str) -> str:
    return " ".join(lines_of(text))


def original_of(segment: Segment, column: int) -> str | None:
    """The model's words, where a person changed them."""
    answer = segment.answers.get(column)
    return answer.text if answer is not None and answer.edited is not None and answer.edited != answer.text else None


def left_out(segments: Iterable[Segment]) -> list[str]:
    """A note on segments without a description."""
    count = sum(not lines_of(segment.caption) for segment in segments)
    if count == 1:
        return ["1 segment has no description and is left out"]
    return [f"{count} segments have no description and are left out"] if count else []

"""What of a timeline fits a model's context, before anything is asked: pure functions. Does not know models or files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smolvlm_core.prompt.template import reserved_tokens
from smolvlm_core.timeline.records import CAPTION, Segment
from smolvlm_core.timeline.summary.records import LeftOut, Plan, Source
from smolvlm_core.times import time_text

MARGIN_TOKENS = 16  # tokens can differ where lines meet
ANSWER_SHARE = 0.25  # of the context, for the answer
MOST_ANSWER_TOKENS = 512
LEAST_ROOM_TOKENS = 32

Count = Callable[[str], int]  # text → tokens


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is known of a segment, as one line of text. `text` is its description, `more` the questions with their answers."""

    source: Source
    text: str
    more: str = ""
    edited: bool = False

    @property
    def written(self) -> str:
        """As the model reads it."""
        start, end = time_text(self.source.start_seconds, 0), time_text(self.source.end_seconds, 0)
        return f"{start}-{end}: {self.text}{' ' if self.text and self.more else ''}{self.more}"


def lines_of(segments: Sequence[Segment], columns: dict[int, str]) -> tuple[list[Line], list[LeftOut]]:
    """The texts of segments, and those that have none that a model can be given."""
    lines, left_out = [], []
    for segment in segments:
        line = _line(segment, columns)
        reason = ""
        if not line.text and not line.more:
            errors = [answer.error for answer in segment.answers.values() if answer.error]
            reason = "Its description failed." if errors else "It is not described yet."
        elif reserved := reserved_tokens(line.written):
            reason = f"Its text contains {reserved[0]}, which the model's chat format reserves."
        if reason:
            left_out.append(
                LeftOut(start_seconds=segment.start_seconds, end_seconds=segment.end_seconds, reason=reason)
            )
        else:
            lines.append(line)
    return lines, left_out


def _line(segment: Segment, columns: dict[int, str]) -> Line:
    more = [
        f"{columns[number]} {' '.join(answer.words.split())}"
        for number, answer in sorted(segment.answers.items())
        if number != CAPTION and number in columns and answer.words.strip()
    ]
    source = Source(segment=segment.identity, start_seconds=segment.start_seconds, end_seconds=segment.end_seconds)
    edited = any(answer.edited is not None for answer in segment.answers.values())
    return Line(source=source, text=" ".join(segment.caption.split()), more=" ".join(more), edited=edited)


def fingerprint(lines: Sequence[Line], question: str, model: str) -> str:
    """Names the texts, the question and the model: an edit changes it."""
    parts = [question, model, *(f"{line.source.segment} {line.written}" for line in lines)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def answer_tokens(context_tokens: int) -> int:
    return min(MOST_ANSWER_TOKENS, int(context_tokens * ANSWER_SHARE))


def plan(
    lines: Sequence[Line],
    left_out: Sequence[LeftOut],
    *,
    context_tokens: int,
    frame_tokens: int,
    counted: bool,
    count: Count,
) -> Plan:
    """Which lines are read at once. A line that is too long alone is left out; every other one is in exactly one group.

    Args:
        frame_tokens: of the prompt around the lines, without them.
        count: tokens of a text. `counted`: exactly.
    """
    reserve = answer_tokens(context_tokens)
    room = context_tokens - reserve - frame_tokens - MARGIN_TOKENS
    costs = [count(line.written + "\n") for line in lines]
    groups: list[list[int]] = []
    left, used, filled = list(left_out), 0, room + 1
    for line, cost in zip(lines, costs):
        if cost > max(room, 0):
            left.append(_too_long(line, cost, room))
            continue
        if filled + cost > room:
            groups.append([])
            filled = 0
        groups[-1].append(line.source.segment)
        filled, used = filled + cost, used + cost
    return Plan(
        context_tokens=context_tokens,
        answer_tokens=reserve,
        counted=counted,
        tokens=used,
        groups=tuple(map(tuple, groups)),
        left_out=tuple(sorted(left, key=lambda part: part.start_seconds)),
    )


def _too_long(line: Line, cost: int, room: int) -> LeftOut:
    return LeftOut(
        start_seconds=line.source.start_seconds,
        end_seconds=line.source.end_seconds,
        reason=f"Its text takes {cost:,} tokens; there is room for {max(0, room):,}.",
    )

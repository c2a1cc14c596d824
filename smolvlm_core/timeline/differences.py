"""Two timelines of one clip side by side: where their models disagree, the largest disagreement first. Pure: does not know files.

Answers to yes-or-no questions are compared by what they mean. Other texts by the words that they share in the same order: one minus
`difflib.SequenceMatcher.ratio` (Ratcliff and Obershelp, 1988: twice the matching words by all words). It knows no synonyms: it orders,
it does not judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from smolvlm_core.timeline.records import CAPTION, Answer, Segment, Timeline
from smolvlm_core.times import Range

MEASURE = "the words that they share in the same order (difflib's ratio; case and punctuation do not count)"
MOST_APART_SECONDS = 0.25  # segments whose borders differ by no more are the same
Verdict = Literal["same", "different", "unanswered"]

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)?")
_YES = frozenset({"yes", "yeah", "yep", "true", "correct"})
_NO = frozenset({"no", "nope", "none", "false", "nothing", "nobody"})
_ASKS_YES_OR_NO = re.compile(
    r"(?:is|are|was|were|am|do|does|did|can|could|has|have|had|will|would|isn't|aren't|doesn't)\b", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One question about one segment, answered by both.

    Attributes:
        question: as both were asked.
        texts: the two answers, or what a person made of them; "" where there is none.
        disagreement: 0 for the same to 1; None where one is not answered.
        by_meaning: yes and no were compared, rather than words.
        edited: whether a person changed each of them.
    """

    question: str
    texts: tuple[str, str]
    disagreement: float | None
    by_meaning: bool = False
    edited: tuple[bool, bool] = (False, False)

    @property
    def verdict(self) -> Verdict:
        if self.disagreement is None:
            return "unanswered"
        return "same" if self.disagreement == 0 else "different"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A segment that both have. `segments`: of each, to show its frames."""

    segments: tuple[Segment, Segment]
    compared: tuple[Compared, ...]

    @property
    def range_seconds(self) -> Range:
        return self.segments[0].range_seconds

    @property
    def disagreement(self) -> float:
        """The largest of its questions; 0 where nothing is answered by both."""
        return max((c.disagreement for c in self.compared if c.disagreement is not None), default=0.0)

    @property
    def is_answered(self) -> bool:
        return any(compared.disagreement is not None for compared in self.compared)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How often two agree on one question. `mean`: disagreement, 0 to 1; None where nothing is answered by both."""

    question: str
    same: int
    different: int
    unanswered: int
    mean: float | None


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Two timelines compared.

    Attributes:
        timelines: the two, in the order of all pairs.
        rows: the segments that both have, the largest disagreement first; those of the same size by time.
        tallies: one for each question that both were asked, the description first.
        only: segments that only one has, by time.
        questions: those that only one was asked.
    """

    timelines: tuple[Timeline, Timeline]
    rows: tuple[Row, ...]
    tallies: tuple[Tally, ...]
    only: tuple[tuple[Segment, ...], tuple[Segment, ...]] = ((), ())
    questions: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def describe(self) -> str:
        """One line, for people."""
        differ = sum(row.disagreement > 0 for row in self.rows)
        answered = sum(row.is_answered for row in self.rows)
        parts = [f"{differ:,} of {answered:,} segments differ"]
        parts += [f"{left:,} not answered by both"] if (left := len(self.rows) - answered) else []
        parts += [f"{more:,} cut differently"] if (more := sum(map(len, self.only))) else []
        return " · ".join(parts)


def compare(
    first: Timeline, first_segments: Sequence[Segment], second: Timeline, second_segments: Sequence[Segment]
) -> Differences:
    """`first_segments`, `second_segments`: those that no other refines."""
    pairs, only = _aligned(first_segments, second_segments)
    numbers = _questions(first, second)
    rows = [Row(segments=pair, compared=tuple(_compared(pair, *each) for each in numbers)) for pair in pairs]
    rows.sort(key=lambda row: (-row.disagreement, not row.is_answered, row.range_seconds))
    asked = {question for question, _, _ in numbers}
    return Differences(
        timelines=(first, second),
        rows=tuple(rows),
        tallies=tuple(_tally(question, i, rows) for i, (question, _, _) in enumerate(numbers)),
        only=only,
        questions=(_others(first, asked), _others(second, asked)),
    )


def disagreement(question: str, first: str, second: str) -> tuple[float, bool]:
    """(0 for the same to 1, whether it is by meaning: both say yes or no to a question that asks for it)."""
    if _ASKS_YES_OR_NO.match(question.strip()):
        one, other = _yes_or_no(first), _yes_or_no(second)
        if one is not None and other is not None:
            return float(one != other), True
    a, b = _words(first), _words(second)
    return 1.0 - max(_ratio(a, b), _ratio(b, a)), False  # the ratio depends a little on the order of the two


def _ratio(first: list[str], second: list[str]) -> float:
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _yes_or_no(text: str) -> bool | None:
    """What a short answer begins with; None where that is neither."""
    first = next(iter(_words(text)), "")
    return True if first in _YES else False if first in _NO else None


def _aligned(
    first: Sequence[Segment], second: Sequence[Segment]
) -> tuple[list[tuple[Segment, Segment]], tuple[tuple[Segment, ...], tuple[Segment, ...]]]:
    """(segments with the same borders, those of each without a partner)."""
    pairs, left = [], []
    free = sorted(second, key=lambda s: s.range_seconds)
    for segment in sorted(first, key=lambda s: s.range_seconds):
        same = [other for other in free if _apart(segment, other) <= MOST_APART_SECONDS]
        if same:
            nearest = min(same, key=lambda other: _apart(segment, other))
            free.remove(nearest)
            pairs.append((segment, nearest))
        else:
            left.append(segment)
    return pairs, (tuple(left), tuple(free))


def _apart(a: Segment, b: Segment) -> float:
    return max(abs(a.start_seconds - b.start_seconds), abs(a.end_seconds - b.end_seconds))


def _questions(first: Timeline, second: Timeline) -> list[tuple[str, int, int]]:
    """(question, its column in each), the descriptions first, even where they were asked for in other words."""
    found = [(first.columns.get(CAPTION, ""), CAPTION, CAPTION)]
    of_second = {_key(question): number for number, question in second.columns.items() if number != CAPTION}
    for number, question in sorted(first.columns.items()):
        if number != CAPTION and _key(question) in of_second:
            found.append((question, number, of_second[_key(question)]))
    return found


def _others(timeline: Timeline, asked: Iterable[str]) -> tuple[str, ...]:
    keys = set(map(_key, asked))
    return tuple(q for number, q in sorted(timeline.columns.items()) if number != CAPTION and _key(q) not in keys)


def _key(question: str) -> str:
    return " ".join(question.casefold().split())


def _compared(pair: tuple[Segment, Segment], question: str, first: int, second: int) -> Compared:
    answers = pair[0].answers.get(first), pair[1].answers.get(second)
    texts = tuple(_said(answer) for answer in answers)
    one, other = answers
    edited = (one is not None and one.edited is not None, other is not None and other.edited is not None)
    if not all(texts):
        return Compared(question=question, texts=(texts[0], texts[1]), disagreement=None, edited=edited)
    value, by_meaning = disagreement(question, texts[0], texts[1])
    return Compared(
        question=question, texts=(texts[0], texts[1]), disagreement=value, by_meaning=by_meaning, edited=edited
    )


def _said(answer: Answer | None) -> str:
    """What a person wrote counts where the model failed."""
    if answer is None or (answer.error and answer.edited is None):
        return ""
    return answer.words.strip()


def _tally(question: str, number: int, rows: Sequence[Row]) -> Tally:
    compared = [row.compared[number] for row in rows]
    values = [c.disagreement for c in compared if c.disagreement is not None]
    return Tally(
        question=question,
        same=sum(value == 0 for value in values),
        different=sum(value > 0 for value in values),
        unanswered=len(compared) - len(values),
        mean=sum(values) / len(values) if values else None,
    )

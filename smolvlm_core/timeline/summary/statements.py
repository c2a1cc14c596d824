"""Sentences, and the segments that they came from: pure functions. Does not know models.

A small model does not cite reliably. So a sentence belongs to the segments whose texts have its words, and a time that the model
wrote stays only where it lies in one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from smolvlm_core.timeline.summary.plan import Line
from smolvlm_core.timeline.summary.records import Source, Statement

TIED = 0.6  # of a sentence's words that its segments must have
ADDS = 0.2  # of a sentence's words that a further segment must add,
ADDS_WHEN_TIED = 0.3  # and where it has enough without that segment
SLACK_SECONDS = 1.0  # times are shown to the model in whole seconds
MOST_SOURCES = 400

_BULLET = re.compile(r"^\s*(?:[-*•–]|\d{1,3}[.)])\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”']?\s+(?=[\"“']?[A-Z0-9])")
_WORD = re.compile(r"[^\W_]+")
_CLOCK = r"(?:(?:\d{1,2}:)?\d{1,3}:\d{2}(?:\.\d+)?|\d+(?:\.\d+)?\s*(?:s|sec|secs|seconds?)\b)"
_DASH = r"\s*(?:-|–|—|to|and|until)\s*"
# In brackets, or at the start of a line before a colon, or after a word that goes with a moment. "for 5 seconds" is no moment.
_TIME = re.compile(
    rf"[\[(]\s*(?P<a>{_CLOCK})(?:{_DASH}(?P<b>{_CLOCK}))?\s*[\])]"
    rf"|\b(?:at|from|between|around|after|until|by|since)\s+(?P<c>{_CLOCK})(?:{_DASH}(?P<d>{_CLOCK}))?"
    rf"|(?P<e>(?<![\d:])(?:\d{{1,2}}:)?\d{{1,3}}:\d{{2}}(?:\.\d+)?)(?:{_DASH}(?P<f>{_CLOCK}))?:?",
    re.IGNORECASE,
)
_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but then also with without in on at to from of for by as is are was were be been being it its this that these those "
        "there here he she they them his her their i we you video clip shows show shown showing see seen scene picture image frame frames "
        "first next later finally while when after before into onto over during which who what has have had do does did",
    )
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, one a line or one after another, without bullets."""
    found = []
    for line in text.splitlines():
        found += _SENTENCE_END.split(_BULLET.sub("", line).strip())
    return [sentence.strip() for sentence in found if _WORD.search(sentence)]


def words_of(text: str) -> frozenset[str]:
    """The words that carry meaning, without endings."""
    return frozenset(_stem(word) for word in _WORD.findall(text.casefold()) if word not in _STOP)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word.removesuffix(ending).rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def tied(sentence: str, lines: Sequence[Line]) -> list[Line]:
    """The lines that a sentence came from: those that have most of its words, alone or together; none where no lines do."""
    wanted = words_of(_TIME.sub(" ", sentence))
    if not wanted:
        return []
    shared = [wanted & words_of(f"{line.text} {line.more}") for line in lines]
    found: set[int] = set()
    covered: frozenset[str] = frozenset()
    while True:
        best = max((words - covered for words in shared), key=len, default=frozenset())
        least = (ADDS_WHEN_TIED if len(covered) >= TIED * len(wanted) else ADDS) * len(wanted)
        if not best or len(best) < least:
            break
        found |= {number for number, words in enumerate(shared) if words - covered >= best}
        covered |= best
    if len(covered) < TIED * len(wanted):
        return []
    return [lines[number] for number in sorted(found)][:MOST_SOURCES]


def statement_of(sentence: str, lines: Sequence[Line]) -> Statement:
    """A sentence that a model wrote about these lines, with its sources, and without times that are not theirs."""
    found = tied(sentence, lines)
    sources = tuple(line.source for line in found)
    text, notes = checked_times(sentence, sources)
    return Statement(text=text, sources=sources, edited=any(line.edited for line in found), notes=notes)


def checked_times(sentence: str, sources: Sequence[Source]) -> tuple[str, tuple[str, ...]]:
    """(the sentence without the times that lie in none of the segments, a note about each of them)."""
    notes = []
    for match in reversed(list(_TIME.finditer(sentence))):
        times = [_seconds(text) for text in match.groups() if text]
        if all(any(_is_in(time, source) for source in sources) for time in times):
            continue
        notes.append(
            f"The model wrote “{match[0].strip()}”, which is not in the segments it came from. It was removed."
        )
        sentence = sentence[: match.start()].rstrip(" ,") + " " + sentence[match.end() :].lstrip(" ,")
    text = re.sub(r"\s+([.,!?])", r"\1", sentence).strip()
    return text[:1].upper() + text[1:], tuple(reversed(notes))


def _is_in(seconds: float, source: Source) -> bool:
    return source.start_seconds - SLACK_SECONDS <= seconds <= source.end_seconds + SLACK_SECONDS


def _seconds(text: str) -> float:
    """ "1:02:03" or "12 seconds"."""
    total = 0.0
    for part in re.sub(r"[^\d:.]", "", text).strip(".").split(":"):
        total = total * 60 + float(part or 0)
    return total


def joined(lines: Sequence[Line], column: str | None = None) -> list[Statement]:
    """Each line's text as a statement about its segment; neighbours with the same words are one. Lines are in order.

    `column`: a question whose answers are used in place of the descriptions.
    """
    found: list[Statement] = []
    for line in lines:
        text = line.text if column is None else line.more.removeprefix(column).strip()
        text = text or line.more
        last = found[-1] if found else None
        if last is not None and _said(last.text) == _said(text) and _follows(last, line.source):
            found[-1] = replace(last, sources=(*last.sources, line.source), edited=last.edited or line.edited)
        else:
            found.append(Statement(text=text, sources=(line.source,), joined=True, edited=line.edited))
    return found


def _said(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _follows(statement: Statement, source: Source) -> bool:
    return source.start_seconds <= statement.sources[-1].end_seconds + SLACK_SECONDS


def over(statements: Sequence[Statement]) -> list[Line]:
    """Statements as lines, so that they can be read as segments are."""
    return [
        Line(
            source=Source(
                segment=index,
                start_seconds=min((s.start_seconds for s in statement.sources), default=0.0),
                end_seconds=max((s.end_seconds for s in statement.sources), default=0.0),
            ),
            text=statement.text,
            edited=statement.edited,
        )
        for index, statement in enumerate(statements)
    ]


def reduced(sentence: str, statements: Sequence[Statement]) -> Statement:
    """A sentence that a model wrote about statements: its sources are theirs."""
    lines = over(statements)
    found = tied(sentence, lines)
    sources = {s.segment: s for line in found for s in statements[line.source.segment].sources}
    ordered = tuple(sorted(sources.values(), key=lambda s: s.start_seconds))
    text, notes = checked_times(sentence, ordered)
    return Statement(text=text, sources=ordered, edited=any(line.edited for line in found), notes=notes)


def unmentioned(statements: Sequence[Statement], lines: Sequence[Line]) -> tuple[Source, ...]:
    """The segments that no statement came from."""
    named = {source.segment for statement in statements for source in statement.sources}
    return tuple(line.source for line in lines if line.source.segment not in named)


def hold(written: Sequence[Statement]) -> bool:
    """Whether what a model wrote can be kept: most of it came from segments."""
    return bool(written) and sum(bool(s.sources) for s in written) * 2 > len(written)

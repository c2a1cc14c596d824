"""What a summary is made of. Plain data: does not know files, databases, backends or pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.times import Range, time_text

KIND = "summary"  # of the document that is kept with a timeline
SUMMARIZE = "Summarize the video."
Verdict = Literal["open", "supported", "unsupported", "unclear"]
Way = Literal["", "model", "joined"]
AskedAs = Literal["", "whole", "parts"]
_TOUCH_SECONDS = 0.05  # segments this near follow each other


@dataclass(frozen=True, kw_only=True)
class Source:
    """A segment that a statement came from."""

    segment: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A question that was asked about the frames of a statement.

    `p_yes`: the probability of yes against no, from the logits; None where the backend gives none. `answer`: the model's words.
    """

    question: str
    seconds: tuple[float, ...]
    answer: str
    p_yes: float | None = None
    says_yes: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One sentence of a summary.

    Attributes:
        sources: the segments it came from, by time; empty where it could not be tied to any.
        joined: it was said of each of its sources in the same words.
        verdict: what the model said when it was shown the frames again: "open" before that, "unclear" where it cannot be asked.
        edited: a person changed the text that it came from.
        notes: what was done to it, and why its verdict is what it is.
    """

    text: str
    sources: tuple[Source, ...] = ()
    joined: bool = False
    verdict: Verdict = "open"
    evidence: tuple[Evidence, ...] = ()
    edited: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The times of its sources in seconds; those that follow each other are one."""
        found: list[Range] = []
        for source in sorted(self.sources, key=lambda s: s.start_seconds):
            if found and source.start_seconds <= found[-1][1] + _TOUCH_SECONDS:
                found[-1] = found[-1][0], max(found[-1][1], source.end_seconds)
            else:
                found.append((source.start_seconds, source.end_seconds))
        return tuple(found)

    def times_text(self) -> str:
        """ "0:00–0:08, 0:20–0:24"; "no source" where there is none."""
        return ", ".join(f"{time_text(round(a, 1))}–{time_text(round(b, 1))}" for a, b in self.ranges) or "no source"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A part of the clip that a summary does not use, and why, as a sentence."""

    start_seconds: float
    end_seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What fits the model's context, before anything is asked.

    Attributes:
        context_tokens: of the model; `answer_tokens` of them stay free for each answer.
        counted: by the model's own tokenizer; else they are estimated.
        tokens: of the texts of all segments that are used.
        groups: segments whose texts are read at once, by their identity.
    """

    context_tokens: int
    answer_tokens: int
    counted: bool
    tokens: int
    groups: tuple[tuple[int, ...], ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def segments(self) -> int:
        return sum(map(len, self.groups))

    def describe(self) -> str:
        """For people: what fits, and how much is left out."""
        if not self.groups:
            return "There is no text to summarize."
        about = "" if self.counted else "about "
        fits = f"{_many(self.segments, 'segment')} with {about}{self.tokens:,} tokens of text"
        context = f"the model's context of {self.context_tokens:,}"
        parts = (
            f"fit {context} at once"
            if len(self.groups) == 1
            else f"are read in {len(self.groups):,} parts for {context}"
        )
        verb = parts.replace("fit ", "fits ").replace("are ", "is ") if self.segments == 1 else parts
        left = f" {_many(len(self.left_out), 'segment')} left out." if self.left_out else " Nothing is left out."
        return f"{fits} {verb}.{left}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The answer to a question about a whole clip.

    Attributes:
        timeline: its identity. `texts`: names the texts it was made from, so that a later edit is noticed.
        mapped: the statements of the groups that were read so far.
        statements: the answer; empty until all groups were read.
        way: whether the model wrote the statements, or they are the segments' texts with equal neighbours joined.
        why: the reason for that, as a sentence.
        asked_as: how statements are verified: as a whole, or by their parts; "" where this model cannot be relied on.
        reliability: how well the model judged known statements, as a sentence.
        unmentioned: segments that no statement of the model came from.
        finished: all statements have their verdicts. `created`: seconds since 1970.
    """

    question: str
    timeline: str
    plan: Plan
    texts: str = ""
    model: str = ""
    weights: str = ""
    mapped: tuple[tuple[Statement, ...], ...] = ()
    statements: tuple[Statement, ...] = ()
    way: Way = ""
    why: str = ""
    asked_as: AskedAs = ""
    reliability: str = ""
    unmentioned: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    finished: bool = False
    created: float = 0.0

    def count(self, verdict: Verdict) -> int:
        return sum(statement.verdict == verdict for statement in self.statements)

    def describe(self) -> str:
        """One line, for people."""
        parts = [_many(len(self.statements), "statement"), f"{self.count('supported')} supported by their frames"]
        parts += [f"{n} not supported"] if (n := self.count("unsupported")) else []
        parts += [f"{n} could not be checked"] if (n := self.count("unclear")) else []
        parts += [f"{n} without a source"] if (n := sum(not s.sources for s in self.statements)) else []
        parts += [f"{n} not checked yet"] if (n := self.count("open")) else []
        return " · ".join(parts)


def read_summary(value: Any) -> Summary | None:
    """From what JSON made of its `asdict`; None where that is no summary."""
    try:
        return read_object(Summary, value)
    except FieldError:
        return None


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")

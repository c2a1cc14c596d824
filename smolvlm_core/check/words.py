"""What a verdict rests on, in words: the same on the Backends page, in the terminal and in reports."""

from __future__ import annotations

from smolvlm_core.check.canaries import Subject
from smolvlm_core.check.run import CONDITIONS, Condition, Verdict
from smolvlm_core.check.statistics import one_in

SUBJECTS: dict[Subject, str] = {"shapes": "Shapes", "text": "Digits and words", "clips": "Clips"}
WORDS: dict[Condition, str] = {
    "its picture": "with the picture",
    "no picture": "without",
    "a blank picture": "blank",
    "a wrong picture": "with a wrong picture",
}


def correct(verdict: Verdict, subject: Subject) -> str:
    """ "Correct: 13/13 with the picture, 0/4 without"; "" where nothing was asked."""
    counts = {name: verdict.accuracy(name, subject) for name in CONDITIONS}
    parts = [f"{right}/{asked} {WORDS[name]}" for name, (right, asked) in counts.items() if asked]
    return f"Correct: {', '.join(parts)}" if parts else ""


def chance(probability: float) -> str:
    """How likely a guess does as well or better."""
    return f"chance of this by guessing: {one_in(probability)}"


def effort(verdict: Verdict) -> str:
    """ "over 99.9% confident after 52 questions in 2.8 s"."""
    questions = f"{len(verdict.asked):,} question{'' if len(verdict.asked) == 1 else 's'}"
    return f"{_percent(verdict.confidence)} confident after {questions} in {verdict.seconds:,.1f} s"


def _percent(share: float) -> str:
    """Never rounded up to certainty."""
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"

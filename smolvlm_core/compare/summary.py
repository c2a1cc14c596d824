"""A comparison in one row a backend, and the machine it ran on. The same on the page and in every report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from smolvlm_core.backends.base import Backend
from smolvlm_core.check.verdicts import StoredVerdict
from smolvlm_core.compare.columns import Column
from smolvlm_core.compare.run import Comparison
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp import programs
from smolvlm_core.models.machine import hardware, versions

LastVerdict = Callable[[Backend], StoredVerdict | None]
HEAD = ("Backend", "Answers", "First token (median)", "Tokens/s (median)", "Load", "Votes", "Check")
UNKNOWN = "–"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One backend. Times are medians over its answers in seconds; None where nothing was measured.

    Attributes:
        first_token_seconds: of the answers that are shown.
        warm_first_token_seconds: of asking once more with warm caches, where that was measured.
        can_be_cold: whether the first time is one without caches.
        preferred, ties, bad: votes in this comparison.
        verdict: of the last check; "" without one.
    """

    name: str
    answered: int
    questions: int
    first_token_seconds: float | None
    warm_first_token_seconds: float | None
    can_be_cold: bool
    tokens_per_second: float | None
    load_seconds: float | None
    preferred: int
    ties: int
    bad: int
    verdict: str

    def cells(self) -> tuple[str, ...]:
        """The values of HEAD, in words."""
        return (
            self.name,
            f"{self.answered} of {self.questions}",
            first_tokens(self.first_token_seconds, self.warm_first_token_seconds, self.can_be_cold),
            f"{self.tokens_per_second:.0f}" if self.tokens_per_second else UNKNOWN,
            f"{self.load_seconds:.1f} s" if self.load_seconds is not None else UNKNOWN,
            self._votes(),
            self.verdict or "not checked",
        )

    def _votes(self) -> str:
        counts = ((self.preferred, "preferred"), (self.ties, "tie" if self.ties == 1 else "ties"), (self.bad, "bad"))
        return ", ".join(f"{count} {word}" for count, word in counts if count) or UNKNOWN


def first_tokens(seconds: float | None, warm_seconds: float | None, can_be_cold: bool) -> str:
    """One time, or the cold and the warm one. A server that does as it likes with its caches is asked first, and again."""
    if seconds is None:
        return UNKNOWN
    if warm_seconds is None:
        return f"{seconds:.2f} s"
    first, second = ("cold", "warm") if can_be_cold else ("first", "again")
    return f"{seconds:.2f} s {first}, {warm_seconds:.2f} s {second}"


def rows(comparison: Comparison, last_verdict: LastVerdict) -> list[Row]:
    return [_row(comparison, column, last_verdict(column.backend)) for column in comparison.columns]


def _row(comparison: Comparison, column: Column, verdict: StoredVerdict | None) -> Row:
    stats = [answer.stats for answer in column.answers if answer.stats is not None]
    again = [answer.again for answer in column.answers if answer.again is not None]
    had_answer = [ballot for n, ballot in comparison.voted.items() if column.answers[n].text]
    return Row(
        name=column.name,
        answered=sum(bool(answer.text) for answer in column.answers),
        questions=len(column.answers),
        first_token_seconds=_median([s.time_to_first_token_seconds for s in stats]),
        warm_first_token_seconds=_median([s.time_to_first_token_seconds for s in again]),
        can_be_cold=column.can_be_cold,
        tokens_per_second=_median([s.tokens_per_second for s in stats]),
        load_seconds=column.load_seconds,
        preferred=sum(ballot.preferred == column.name for ballot in had_answer),
        ties=sum(ballot.outcome == "tie" for ballot in had_answer),
        bad=sum(ballot.outcome == "bad" for ballot in had_answer),
        verdict=verdict.verdict if verdict is not None else "",
    )


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def machine() -> dict[str, str]:
    """What the backends of this machine ran on. Servers elsewhere are not described."""
    installed = versions()
    try:
        installed["llama.cpp"] = programs.find_server().short_version
    except LensError:
        pass  # there is none
    return {**hardware(), "Versions": ", ".join(f"{name} {version}" for name, version in installed.items())}

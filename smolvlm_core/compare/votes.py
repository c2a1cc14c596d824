"""Votes on the answers of comparisons, stored in the data folder: one JSON line for each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from smolvlm_core.errors import StoreError
from smolvlm_core.fields import read_object
from smolvlm_core.files import append_line
from smolvlm_core.text import valid_text

Outcome = Literal["preferred", "tie", "bad"]


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """A judgment on the answers to one question. `preferred`: the name of a backend, where one was better."""

    outcome: Outcome
    preferred: str = ""

    def describe(self, answers: int) -> str:
        """In words. `answers`: how many there were."""
        if self.outcome == "preferred":
            return f"Preferred: {self.preferred}"
        return "Tie" if self.outcome == "tie" else bad_words(answers)


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A line of the file. `answers`: the text of each backend, by its name. `time`: seconds since the epoch. `order`: the names
    as they were shown, from A on.

    Lines of earlier versions have no `outcome`: one backend was preferred.
    """

    answers: dict[str, str]
    outcome: Outcome = "preferred"
    preferred: str = ""
    time: float = 0.0
    blind: bool = False
    question: str = ""
    prompt: str = ""  # its fingerprint
    order: tuple[str, ...] = ()


class Votes:
    """Votes of one data folder. `problem`: set where lines of the file could not be read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "votes.jsonl"
        self.problem: StoreError | None = None

    def add(self, vote: dict[str, Any]) -> None:
        """Raises StoreError where it cannot be written; the file then ends where it ended before."""
        try:
            append_line(self._path, valid_text(json.dumps(vote, ensure_ascii=False)).encode(), private=True)
        except StoreError as error:
            raise StoreError(f"The vote is not saved: {error.args[0]}", error.hint) from error

    def all(self) -> list[dict[str, Any]]:
        """The oldest first. Lines that cannot be read are left out: `problem` says how many."""
        self.problem = None
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            self.problem = StoreError(f"{self._path} cannot be read: {error}.", "Check its permissions.")
            return []
        votes = [_vote(line) for line in lines if line.strip()]
        if skipped := votes.count(None):
            lines_are = "1 line is no vote" if skipped == 1 else f"{skipped} lines are no votes"
            self.problem = StoreError(f"{self._path}: {lines_are}.", "They are left out. Repair or remove them.")
        return [vote for vote in votes if vote is not None]


def _vote(line: bytes) -> dict[str, Any] | None:
    try:
        return asdict(read_object(Vote, json.loads(line.decode("utf-8", "replace"))))
    except (ValueError, RecursionError):
        return None


@dataclass(kw_only=True)
class Standing:
    """What the votes say of one backend.

    Attributes:
        times: votes in which it had an answer.
        bad: votes that found all answers bad. `of_many`: some of them were on more than two answers.
    """

    name: str
    times: int = 0
    preferred: int = 0
    ties: int = 0
    bad: int = 0
    of_many: bool = False

    def describe(self) -> str:
        """ "preferred 3 of 7 times, 2 ties, 1 both bad"."""
        parts = [f"preferred {self.preferred:,} of {self.times:,} time{'' if self.times == 1 else 's'}"]
        if self.ties:
            parts.append(f"{self.ties:,} tie{'' if self.ties == 1 else 's'}")
        if self.bad:
            parts.append(f"{self.bad:,} {bad_words(3 if self.of_many else 2).lower()}")
        return ", ".join(parts)


def bad_words(answers: int) -> str:
    """What a judgment that none is good is called."""
    return {1: "Bad", 2: "Both bad"}.get(answers, "All bad")


def tally(votes: list[dict[str, Any]]) -> list[Standing]:
    """One for each backend, the most preferred first. A backend without an answer could not be chosen: it is not counted."""
    standings: dict[str, Standing] = {}
    for vote in votes:
        outcome = vote.get("outcome", "preferred")
        answered = [name for name, text in vote["answers"].items() if text]
        for name in answered:
            standing = standings.setdefault(name, Standing(name=name))
            standing.times += 1
            standing.preferred += outcome == "preferred" and vote.get("preferred") == name
            standing.ties += outcome == "tie"
            standing.bad += outcome == "bad"
            standing.of_many = standing.of_many or (outcome == "bad" and len(answered) > 2)
    return sorted(standings.values(), key=lambda s: (-s.preferred / s.times, -s.ties / s.times, s.name))

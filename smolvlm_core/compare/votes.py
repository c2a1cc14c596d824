"""Preferred answers of comparisons, stored in the data folder: one JSON line for each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolvlm_core.errors import StoreError
from smolvlm_core.fields import read_object
from smolvlm_core.files import append_line
from smolvlm_core.text import valid_text


@dataclass(frozen=True, kw_only=True)
class Vote:
    """`answers`: the text of each backend, by its name. `preferred`: the name of one of them. `time`: seconds since the epoch."""

    answers: dict[str, str]
    preferred: str = ""
    time: float = 0.0
    blind: bool = False
    question: str = ""
    prompt: str = ""  # its fingerprint


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


def tally(votes: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """(backend, times preferred, times it could be chosen), the most preferred first."""
    stood = Counter(name for vote in votes for name in vote["answers"])
    won = Counter(vote.get("preferred") for vote in votes)
    return sorted(((name, won[name], stood[name]) for name in stood), key=lambda row: -row[1] / row[2])

"""Preferred answers of comparisons, stored in the data folder: one JSON line for each."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from smolvlm_core.errors import StoreError


class Votes:
    """Votes of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "votes.jsonl"

    def add(self, vote: dict[str, Any]) -> None:
        """Raises StoreError where it cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vote, ensure_ascii=False) + "\n")
        except OSError as error:
            fix = f"Free some disk space, or check the permissions of {self._path.parent}."
            raise StoreError(f"The vote is not saved: {error}.", fix) from error

    def all(self) -> list[dict[str, Any]]:
        """The oldest first. Lines that cannot be read are skipped."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [vote for line in lines if (vote := _vote(line)) is not None]


def _vote(line: str) -> dict[str, Any] | None:
    try:
        vote = json.loads(line)
    except ValueError:
        return None
    return vote if isinstance(vote, dict) and isinstance(vote.get("answers"), dict) else None


def tally(votes: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """(backend, times preferred, times it could be chosen), the most preferred first."""
    stood = Counter(name for vote in votes for name in vote["answers"])
    won = Counter(vote.get("preferred") for vote in votes)
    return sorted(((name, won[name], stood[name]) for name in stood), key=lambda row: -row[1] / row[2])

"""Preferred answers of comparisons, kept in the data folder: one JSON line for each."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from smolvlm_core.errors import StoreError
from smolvlm_core.paths import data_folder


def keep(vote: dict[str, Any]) -> None:
    """Raises StoreError where it cannot be written."""
    path = data_folder() / "votes.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(vote, ensure_ascii=False) + "\n")
    except OSError as error:
        raise StoreError(
            f"The vote cannot be kept: {error}.", f"Make room for {path}, or let it be written."
        ) from error


def votes() -> list[dict[str, Any]]:
    """All that were kept, the oldest first; lines that cannot be read are passed over."""
    out = []
    try:
        lines = (data_folder() / "votes.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            vote = json.loads(line)
        except ValueError:
            continue
        if isinstance(vote, dict) and isinstance(vote.get("answers"), dict):
            out.append(vote)
    return out


def tally(kept: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """(backend, times preferred, times it stood to choose), the most preferred first."""
    stood = Counter(name for vote in kept for name in vote["answers"])
    won = Counter(vote.get("preferred") for vote in kept)
    return sorted(((name, won[name], stood[name]) for name in stood), key=lambda row: -row[1] / row[2])

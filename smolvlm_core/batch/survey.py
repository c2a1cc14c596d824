"""What a batch would ask, counted before it starts. Asks nothing and changes nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smolvlm_core.batch.plan import Item
from smolvlm_core.batch.results import Results, State
from smolvlm_core.video import VIDEO_EXTENSIONS


@dataclass(frozen=True, kw_only=True)
class Survey:
    """`clips`: by their extension. `finished` are skipped; `failed` and `changed` are asked again."""

    total: int
    clips: int
    finished: int
    failed: int
    changed: int

    @property
    def to_ask(self) -> int:
        return self.total - self.finished

    def describe(self) -> str:
        """One line, for people."""
        parts = [f"{self.total:,} {'item' if self.total == 1 else 'items'}"]
        if self.clips:
            parts[0] += f" ({self.clips:,} {'clip' if self.clips == 1 else 'clips'})"
        if self.finished:
            parts.append(f"{self.finished:,} answered already and skipped")
        if self.failed:
            parts.append(f"{self.failed:,} failed before and asked again")
        if self.changed:
            parts.append(f"{self.changed:,} changed since and asked again")
        return ", ".join(parts)


def survey(items: Iterable[Item], fingerprint: str, results: Path, cancel: threading.Event) -> Survey | None:
    """Count the items by what is in a results file, which need not exist. None where `cancel` was set.

    Raises:
        LensError: the inputs cannot be used, or another process writes the results file.
    """
    if not results.exists():
        return _count(items, None, fingerprint, cancel)
    with Results(results) as opened:
        return _count(items, opened, fingerprint, cancel)


def _count(items: Iterable[Item], results: Results | None, fingerprint: str, cancel: threading.Event) -> Survey | None:
    states: Counter[State] = Counter()
    clips = 0
    for item in items:
        if cancel.is_set():
            return None
        states[results.state_of(item, fingerprint) if results is not None else "new"] += 1
        clips += PurePosixPath(item.name).suffix.lower().lstrip(".") in VIDEO_EXTENSIONS
    return Survey(
        total=states.total(),
        clips=clips,
        finished=states["finished"],
        failed=states["failed"],
        changed=states["changed"],
    )

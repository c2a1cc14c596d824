"""The rows of a results file, to look through: filter, sort, and read one whole. Follows a file that grows.

Knows results files. Does not know who asks, or what runs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Literal, get_args

from smolvlm_core.batch.records import Record
from smolvlm_core.batch.results import scan
from smolvlm_core.batch.run import CUT_OFF
from smolvlm_core.errors import StoreError

Only = Literal["all", "failed", "edited", "cut off"]
Sort = Literal["finished first", "finished last", "name", "slowest", "longest"]
ONLY: tuple[Only, ...] = get_args(Only)
ARCHIVE = ".zip!"  # between an archive's path and a member's name
SEPARATORS = ("/", "\\", ARCHIVE)
SORTS: tuple[Sort, ...] = get_args(Sort)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What a list shows of a record. `offset`: of its line in the file. `seconds`: without waiting for others."""

    id: str
    item: str
    prompt: str
    text: str
    error: str
    seconds: float
    tokens: int
    is_failed: bool
    is_edited: bool
    is_cut_off: bool
    offset: int

    def matches(self, words: str) -> bool:
        """Whether its name, answer, error or prompt has these words, whatever their case."""
        return any(words in text.casefold() for text in (self.text, self.item, self.error, self.prompt))

    def is_one_of(self, only: Only) -> bool:
        return {
            "all": True,
            "failed": self.is_failed,
            "edited": self.is_edited,
            "cut off": self.is_cut_off,
        }[only]


class Table:
    """Used from any thread. Memory holds the rows, not the records.

    A file that grew is read from where it ended; one that was rewritten is read again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reading = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Read the file again, the next time."""
        self._rows: list[Row] = []
        self._size, self._file, self._last = 0, 0, b""

    def rows(self) -> list[Row]:
        """As they are in the file: in the order in which they were finished. Raises StoreError."""
        with self._reading:
            try:
                found = self.path.stat()
            except OSError:
                self.forget()
                return []
            if found.st_ino != self._file or found.st_size < self._size or not self._ends_as_before():
                self.forget()
                self._file = found.st_ino
            if found.st_size > self._size:
                self._read_on()
            return self._rows.copy()

    def record(self, row: Row) -> Record:
        """The whole record. Raises StoreError where it is no longer there."""
        for record, _ in scan(self.path, row.offset):
            if record.id == row.id:
                return record
            break
        raise StoreError(f"{row.item} was asked again or edited meanwhile.", "Select it again.")

    def _ends_as_before(self) -> bool:
        """A rewritten file can have the number of the old one."""
        with self.path.open("rb") as file:
            file.seek(self._size - len(self._last))
            return file.read(len(self._last)) == self._last

    def _read_on(self) -> None:
        for record, line in scan(self.path, self._size):
            if not line.endswith(b"\n"):
                return
            self._rows.append(_row(record, self._size))
            self._size, self._last = self._size + len(line), line


def pick(rows: Iterable[Row], words: str = "", only: Only = "all", sort: Sort = "finished first") -> list[Row]:
    """The rows that match, sorted."""
    words = words.strip().casefold()
    picked = [row for row in rows if row.is_one_of(only) and (not words or row.matches(words))]
    if sort == "finished last":
        return picked[::-1]
    if sort == "name":
        return sorted(picked, key=attrgetter("item", "prompt"))
    if sort in ("slowest", "longest"):
        return sorted(picked, key=attrgetter("seconds" if sort == "slowest" else "tokens"), reverse=True)
    return picked


def common_parent(items: Sequence[str]) -> str:
    """With its last separator; an archive is a folder too."""
    common = os.path.commonprefix(items)  # noqa: RUF071 (a member of an archive is no path; it is cut at a separator below)
    ends = (common.rfind(separator) + len(separator) for separator in SEPARATORS if separator in common)
    return common[: max(ends, default=0)]


def _row(record: Record, offset: int) -> Row:
    stats = record.stats
    return Row(
        id=record.id,
        item=record.item,
        prompt=record.prompt,
        text=record.text,
        error=record.error,
        seconds=stats.get("total_seconds", 0.0) - stats.get("queued_seconds", 0.0) - stats.get("load_seconds", 0.0),
        tokens=stats.get("new_tokens", 0),
        is_failed=record.failed,
        is_edited=record.edited is not None,
        is_cut_off=not record.failed and stats.get("stop_reason") in CUT_OFF,
        offset=offset,
    )

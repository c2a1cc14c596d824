"""The results file: JSON Lines, one record an item, and the only place that says what was asked. Does not know backends.

A record is there completely or not at all, whenever the process ends. Memory holds a few bytes for each record, not the records.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import filelock

from smolvlm_core.batch.plan import Item
from smolvlm_core.batch.records import Record, record_id
from smolvlm_core.errors import MediaError, StoreError
from smolvlm_core.files import replacing, sweep, write_all
from smolvlm_core.text import csv_cell, valid_text

SYNC_SECONDS = 0.1  # a record is with the system at once, on the disk at most so much later
RECORD_START = b'{"id"'
CSV_COLUMNS = (
    "item",
    "prompt",
    "text",
    "error",
    "data",
    "kind",
    "notes",
    "frames",
    "model",
    "weights",
    "finished",
    "id",
)
State = Literal["new", "failed", "changed", "finished"]


@dataclass(frozen=True, slots=True)
class _Known:
    """A finished record: its file as it was, and its id."""

    size_bytes: int
    modified_ns: int
    id: str


class Results:
    """An open results file, locked against other processes. Used from any thread; a context manager.

    Raises:
        StoreError: another process writes it, it cannot be written, or it is some other file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._writing = threading.RLock()
        self._synced = 0.0
        self._known: dict[bytes, _Known | None] = {}  # None: failed
        self._lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"), thread_local=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            sweep(self.path.parent, self.path.name)
        except filelock.Timeout:
            raise StoreError(
                f"{path} is in use by another batch.", "Wait until it ends, or choose another file."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._file = self._open()
            try:
                self._recover()
            except BaseException:
                self._file.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """May be called twice."""
        with self._writing:
            if not self._file.closed:
                with contextlib.suppress(OSError):  # every record is with the system already
                    os.fsync(self._file.fileno())
                self._file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def records(self) -> Iterator[Record]:
        """Those in the file, read lazily; the last one may be missing while it is written. Raises StoreError."""
        return read_records(self.path)

    def state_of(self, item: Item, fingerprint: str) -> State:
        """Whether an item must be asked, and why. Reads its file only where its size or time of change is another.

        A finished record of a file that is gone stays finished.
        """
        key = key_of(item.name, item.prompt, fingerprint)
        if key not in self._known:
            return "new"
        if (known := self._known[key]) is None:
            return "failed"
        try:
            if item.stamp() == (known.size_bytes, known.modified_ns):
                return "finished"
            same = record_id(item.name, item.prompt, item.sha256(), fingerprint) == known.id
        except MediaError:
            return "finished"
        return "finished" if same else "changed"

    def forget(self, keys: Collection[bytes]) -> None:
        """Remove the records of items that are asked again, in one step. Raises StoreError."""
        with self._writing:
            gone = self._known.keys() & set(keys)
            if gone:
                self._rewrite(lambda record: None if _key_of_record(record) in gone else record)
                for key in gone:
                    del self._known[key]

    def append(self, record: Record) -> None:
        """Raises StoreError; the file then ends where it ended before."""
        line = (record.as_line() + "\n").encode()
        with self._writing:
            end = self._file.seek(0, os.SEEK_END)
            try:
                write_all(self._file, line)
                if time.monotonic() - self._synced > SYNC_SECONDS:
                    os.fsync(self._file.fileno())
                    self._synced = time.monotonic()
            except OSError as error:
                with contextlib.suppress(OSError):  # else the next start cuts it off
                    self._file.truncate(end)
                raise self._unwritable(error) from error
            self._remember(record)

    def edit(self, id: str, text: str | None) -> None:
        """Store what a person made of an answer; None takes it back. Raises StoreError, also where there is no such record."""
        found: list[Record] = []

        def change(record: Record) -> Record:
            if record.id != id:
                return record
            found.append(replace(record, edited=None if text is None else valid_text(text)))
            return found[-1]

        with self._writing:
            if all(record.id != id for record in self.records()):
                raise StoreError(
                    f"{self.path} has no record {id}.", "It may have been asked again. Reload the results."
                )
            self._rewrite(change)
            for record in found:
                self._known.pop(_key_of_record(record), None)
                self._remember(record)

    def _remember(self, record: Record) -> None:
        key = _key_of_record(record)
        if record.failed:
            self._known.setdefault(key, None)
        else:
            self._known[key] = _Known(record.size_bytes, record.modified_ns, record.id)

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error

    def _recover(self) -> None:
        """Learn what is in the file, and repair its end where the last process ended while it wrote."""
        size = 0
        last = b"\n"
        for record, last in scan(self.path):
            self._remember(record)
            size += len(last)
        if self._file.seek(0, os.SEEK_END) != size:
            self._file.truncate(size)
        if not last.endswith(b"\n"):
            write_all(self._file, b"\n")

    def _rewrite(self, change: Callable[[Record], Record | None]) -> None:
        """Replace the file in one step. Lines of records that stay as they are stay as they are."""
        with replacing(self.path) as file:
            for record, line in scan(self.path):
                changed = change(record)
                if changed is not None:
                    file.write(line if changed is record else (changed.as_line() + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        self._file = self._open()

    def _unwritable(self, error: OSError) -> StoreError:
        fix = "Free some disk space, or check the folder's permissions."
        return StoreError(f"{self.path} cannot be written: {error.strerror or error}.", fix)


def key_of(item: str, prompt: str, fingerprint: str) -> bytes:
    """Names an item, its prompt and plan, whatever its file holds. 16 bytes."""
    parts = valid_text(item), valid_text(prompt), fingerprint
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


def read_records(path: Path) -> Iterator[Record]:
    """The records of a results file, also while it is written. Raises StoreError where it is some other file."""
    return (record for record, _ in scan(path))


def export_csv(records: Iterable[Record], path: Path) -> None:
    """A table for people and spreadsheets: the main fields of each record; none is a formula. Raises StoreError."""
    with replacing(path) as file:
        rows = csv.writer(codecs.getwriter("utf-8")(file))
        rows.writerow(CSV_COLUMNS)
        for record in records:
            rows.writerow([csv_cell(_cell(record, name)) for name in CSV_COLUMNS])


def _cell(record: Record, name: str) -> str:
    if name == "data":
        return "" if record.data is None else json.dumps(record.data, ensure_ascii=False)
    if name == "notes":
        return "; ".join(record.notes)
    if name == "frames":
        times = (frame.get("timestamp_seconds") for frame in record.frames)
        return " ".join(f"{time:.3f}" for time in times if isinstance(time, int | float))
    if name == "finished":
        return datetime.fromtimestamp(record.finished, UTC).isoformat(timespec="seconds")
    return str(getattr(record, name))


def scan(path: Path, offset: int = 0) -> Iterator[tuple[Record, bytes]]:
    """Each record with its line, from a byte where a line begins. Ends before a last line that was not written completely."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            for number, line in enumerate(file, start=1):
                record = _parsed(line)
                if record is not None:
                    yield record, line
                elif not _is_torn(line):
                    raise StoreError(
                        f"Line {number} of {path} is not a record of a batch.",
                        "Repair or remove that line, or choose another file.",
                    )
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error


def _parsed(line: bytes) -> Record | None:
    try:
        return Record.from_line(line.decode())
    except (ValueError, RecursionError):
        return None


def _is_torn(line: bytes) -> bool:
    """The beginning of a record, or zeros as some file systems leave them after a power failure. No other file's last line."""
    began = line.startswith(RECORD_START) or RECORD_START.startswith(line) or not line.strip(b"\0")
    return began and not line.endswith(b"\n")


def _key_of_record(record: Record) -> bytes:
    return key_of(record.item, record.prompt, record.fingerprint)

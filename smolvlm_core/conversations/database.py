"""One SQLite file used from many threads: a connection for each, transactions, errors in words. Does not know tables."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smolvlm_core.errors import StoreError


class Database:
    """Rows can be read by column name. Write-ahead logging lets one thread write while others read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Raises StoreError where the file cannot be read."""
        try:
            return self._connection().execute(query, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise StoreError(
                f"The conversations in {self.path.parent} cannot be read: {error}.",
                "Check the folder's permissions, or set SMOLVLM_LENS_DATA to another one.",
            ) from error

    def row(self, query: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        found = self.rows(query, values)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it is written, or nothing. Raises StoreError."""
        try:
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(
                f"The conversations in {self.path.parent} cannot be written: {error}.",
                "Free some disk space, or close other copies of the app.",
            ) from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            self._local.db = db
        return self._local.db  # type: ignore[no-any-return]

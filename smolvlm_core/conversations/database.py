"""One SQLite file used from many threads: connections, transactions and errors. Does not know the tables."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smolvlm_core.errors import StoreError


class Database:
    """One connection per thread. Write-ahead logging lets one thread write while others read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Run a query. Raises StoreError if the file cannot be read."""
        try:
            return self._connection().execute(query, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise StoreError(
                f"The conversations in {self.path.parent} cannot be read: {error}.",
                "Check the folder's permissions, or set SMOLVLM_LENS_DATA to another folder.",
            ) from error

    def row(self, query: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        rows = self.rows(query, values)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit on success, roll back on any exception. Raises StoreError if the database cannot be written."""
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

"""One SQLite file used from many threads: connections, transactions and errors. Does not know the tables.

The file can be replaced or deleted while the app runs. That is noticed before each use: all connections are closed, and what is
there now is opened. SQLite itself would go on with the file that is gone, and what it writes would be lost.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smolvlm_core.errors import StoreError
from smolvlm_core.files import make_folder

READ_HINT = "Check the folder's permissions, or set SMOLVLM_LENS_DATA to another folder."
WRITE_HINT = "Free some disk space, check the folder's permissions, or close other copies of the app."
DAMAGE_HINT = "The file is damaged: put a copy in its place, or move it away to begin a new one."
DAMAGE = ("malformed", "not a database", "no such", "has no column", "unsupported file format")


class Schema:
    """The tables of a database, as numbered migrations.

    `migrations[n]` are the statements that upgrade version n to n + 1; released ones never change. `what`: the rows, for people.
    `parameters`: names in the statements that are NULL in a migration. `shrinks`: whether `Database.shrink` is used.
    """

    def __init__(
        self, what: str, migrations: Sequence[Sequence[str]], parameters: Sequence[str] = (), shrinks: bool = False
    ) -> None:
        self.what, self.migrations, self.parameters, self.shrinks = what, migrations, parameters, shrinks

    @property
    def version(self) -> int:
        return len(self.migrations)

    def refuse_newer(self, path: Path) -> None:
        """Raises StoreError where a newer version of the app wrote the database. Opens it for reading only: it stays as it is."""
        if not path.is_file():
            return
        try:
            with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
                version = version_of(db)
        except sqlite3.Error as error:
            raise StoreError(
                f"The {self.what} in {path.parent} cannot be read: {error}.",
                "If the file is damaged, put a copy in its place, or move it away to begin a new one.",
            ) from error
        if version > self.version:
            raise StoreError(
                f"The database of {self.what} has version {version}. This version of the app supports up to {self.version}.",
                "Update the app, or set SMOLVLM_LENS_DATA to another folder.",
            )

    def migrate(self, db: sqlite3.Connection) -> None:
        """Bring a database to `version`. Call inside a transaction: all migrations are applied, or none."""
        for statements in self.migrations[max(0, version_of(db)) :]:
            for statement in statements:
                db.execute(statement, dict.fromkeys(self.parameters))
        db.execute(f"PRAGMA user_version = {self.version}")


def version_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


class _Connection:
    """Of one thread. Whoever holds `lock` may use or close it. `busy`: its thread is in the middle of using it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db, self.lock = db, threading.Lock()
        self.busy = self.closed = False

    def close(self) -> None:
        with self.lock, contextlib.suppress(sqlite3.Error):
            self.closed = True
            self.db.close()


class Database:
    """One connection per thread. Write-ahead logging lets one thread write while others read.

    `tell` gets a sentence where the file was replaced or deleted.
    """

    def __init__(self, path: Path, schema: Schema, tell: Callable[[str], None]) -> None:
        self.path, self._schema, self._tell = path, schema, tell
        self._local = threading.local()
        self._all: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._opening = threading.Lock()
        self._file: tuple[int, int] | None = None
        self._anchor: sqlite3.Connection | None = None  # stays open, so that no other file gets this one's number

    def rows(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Run a query. Raises StoreError if the file cannot be read."""
        with self._in_words("read", READ_HINT), self._using() as db:
            return db.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        rows = self.rows(query, values)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit on success, roll back on any exception. Raises StoreError if the database cannot be written."""
        with self._in_words("written", WRITE_HINT), self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has rolled back already
                    with contextlib.suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                raise
            if self._found() != self._file:
                raise StoreError(f"{self.path} was moved or deleted while it was written.", "Try again.")

    def shrink(self) -> None:
        """Give the room of deleted rows back to the disk, as far as others do not read meanwhile. Raises StoreError."""
        with self._in_words("written", WRITE_HINT), self._using() as db:
            db.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _in_words(self, what: str, hint: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeError, OSError) as error:
            hint = DAMAGE_HINT if any(sign in str(error) for sign in DAMAGE) else hint
            raise StoreError(
                f"The {self._schema.what} in {self.path.parent} cannot be {what}: {error}.", hint
            ) from error

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        mine = self._mine()
        if mine is not None and mine.busy:  # inside a transaction of this thread
            yield mine.db
            return
        mine = self._acquired()
        mine.busy = True
        try:
            yield mine.db
        finally:
            mine.busy = False
            mine.lock.release()

    def _acquired(self) -> _Connection:
        """This thread's connection to the file that is there now, with its lock held."""
        while True:
            self._follow_the_file()
            mine = self._mine()
            if mine is None or mine.closed:
                with self._opening:  # no other thread opens another file meanwhile
                    mine = self._local.mine = _Connection(self._connect())
                    self._all.add(mine)
            mine.lock.acquire()
            if not mine.closed and self._found() == self._file:
                return mine
            mine.lock.release()

    def _mine(self) -> _Connection | None:
        return getattr(self._local, "mine", None)

    def _follow_the_file(self) -> None:
        if self._file is not None and self._found() == self._file:
            return
        with self._opening:
            found, before = self._found(), self._file
            if before is not None and found == before:
                return
            self._close_all()
            self._open()
            if before is not None:
                what = "is another file now" if found else "was deleted while the app ran, and a new one was begun"
                self._tell(f"The database of {self._schema.what} {self.path} {what}.")

    def _open(self) -> None:
        """The file's first connection. Creates file and folder where there are none, for this user only."""
        make_folder(self.path.parent)
        self._schema.refuse_newer(self.path)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # the files beside it get the same permissions
        db = self._connect()
        try:
            db.execute("BEGIN IMMEDIATE")
            self._schema.migrate(db)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        self._anchor, self._file = db, self._found()

    def _close_all(self) -> None:
        """Before another file is opened. What the write-ahead log holds goes into the file that it belongs to.

        SQLite does not do that for a file that was moved, and would read the log as the new file's: logs are found by name.
        """
        for connection in tuple(self._all):
            connection.close()
        if self._anchor is not None:
            with contextlib.suppress(sqlite3.Error):
                self._anchor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(sqlite3.Error):
                self._anchor.close()
        self._anchor = self._file = None

    def _found(self) -> tuple[int, int] | None:
        """Device and number of the file that is there now."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.text_factory = lambda data: data.decode("utf-8", "replace")  # one damaged text must not hide the others
        if self._schema.shrinks and not self.path.stat().st_size:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # can be set for a new file only
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        return db

"""Files of the data folder: read with errors that say what to do, written so that a crash leaves the old or the new file.

Knows no contents. `Remembered` is for what can be found out again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from smolvlm_core import owners
from smolvlm_core.errors import StoreError

logger = logging.getLogger(__name__)
TEMPORARY = ".lens-tmp"  # ends the name of every file and folder that waits to take its final name
STALE_SECONDS = 24 * 3600.0
WRITE_HINT = "Free some disk space, or check the folder's permissions."


def read_json(path: Path, default: Any) -> Any:
    """The value in a JSON file; `default` where there is no file.

    Raises:
        StoreError: it cannot be read or is damaged. The file is left as it is.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Repair or remove that file.") from error


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Replace a JSON file in one step. `private`: only this user can read it.

    Raises:
        StoreError: it cannot be written. The old file stays, and no temporary file is left.
    """
    with replacing(path, private=private) as file:
        file.write(json.dumps(value, indent=1).encode())


def make_folder(folder: Path) -> None:
    """Create a folder and those above it that are missing, for this user only. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A new file that takes the place of another one in a single step, when the block ends without an exception.

    Raises:
        StoreError: it cannot be written. The old file stays, and no temporary file is left.
    """
    temporary = temporary_path(path)
    try:
        _parent(path, private)
        with open(temporary, "xb", opener=_private_opener) as file:
            yield file
        temporary.chmod(0o600 if private else 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}.", WRITE_HINT) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # already moved where all went well


@contextlib.contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A private folder that is removed when the block ends. After a crash, `sweep` removes it. Raises OSError."""
    folder = make_temporary_folder(parent, name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_temporary_folder(parent: Path, name: str) -> Path:
    """A private folder for the caller to remove. After a crash, `sweep` removes it. Raises OSError."""
    return Path(tempfile.mkdtemp(prefix=_prefix(name), suffix=TEMPORARY, dir=parent))


def temporary_path(path: Path) -> Path:
    """A name beside a file for what takes its place. `sweep` knows it, and which process it belongs to."""
    name = path.name.encode()[:100].decode(errors="ignore")  # file systems allow 255 bytes
    return path.with_name(f"{_prefix(name)}{os.urandom(4).hex()}{TEMPORARY}")


def _prefix(name: str) -> str:
    return f".{name}.{owners.machine()}-{owners.this_process().replace(' ', '-')}-"


def sweep(folder: Path, name: str = "*") -> int:
    """Remove temporary files and folders that ended processes left directly in a folder. `name`: only those of this file.

    Those of another machine, or of another version, go once they are a day old.

    Returns:
        How many were removed.
    """
    removed = 0
    for path in folder.glob(f".{name}.*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            if _is_stale(path):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                removed += 1
    return removed


def _is_stale(path: Path) -> bool:
    machine, _, owner = path.name.removesuffix(TEMPORARY).rpartition("-")[0].rpartition(".")[2].partition("-")
    if machine == owners.machine() and owner:
        return not owners.is_alive(owner.replace("-", " ", 1))
    return time.time() - path.stat().st_mtime > STALE_SECONDS


def append_line(path: Path, line: bytes, *, private: bool = False) -> None:
    """Add a line to a file: whole, or not at all. A line that an earlier process left half written is closed first.

    Raises:
        StoreError: it cannot be written. The file then ends where it ended before.
    """
    try:
        _parent(path, private)
        opener = _private_opener if private else None
        with open(path, "a+b", buffering=0, opener=opener) as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
                line = b"\n" + line
            try:
                write_all(file, line + b"\n")
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}.", WRITE_HINT) from error


def write_all(file: Any, data: bytes) -> None:
    """To an unbuffered file, which may take a part only. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _parent(path: Path, private: bool) -> None:
    if private:
        make_folder(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def set_aside(path: Path) -> Path:
    """Move a damaged file to a free name beside it, so that a new one can take its place. Raises StoreError."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.damaged{'' if number == 1 else f'-{number}'}")
        if not aside.exists():
            break
    try:
        os.replace(path, aside)
    except OSError as error:
        raise StoreError(f"{path} is damaged and cannot be moved: {error}.", "Remove that file.") from error
    return aside


class Remembered:
    """Rows of a JSON file by key. Used from any thread.

    A damaged file counts as empty. The first new row moves it aside, so that nothing in it is lost. `problem` says so.
    `path` is asked for at each use: the data folder can change between them.
    """

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path, self._writing = path, threading.Lock()
        self.problem: StoreError | None = None

    def get(self, key: str) -> Any:
        """None where there is no such row."""
        try:
            row = self._rows().get(key)
        except StoreError as error:
            self._tell(error)
            return None
        return row

    def put(self, key: str, value: Any) -> None:
        """A row that cannot be written is logged: it is found out again."""
        try:
            self.store(key, value)
        except StoreError as error:
            logger.warning("%s", error)

    def store(self, key: str, value: Any) -> None:
        """As `put`, but raises StoreError."""
        with self._writing:
            try:
                rows = self._rows()
            except StoreError as error:
                rows = self._begun_again(error)
            write_json(self._path(), {**rows, key: value}, private=True)

    def keep(self, wanted: Callable[[str, Any], bool]) -> None:
        """Drop the rows that are not wanted. A file that cannot be read or written is logged and left as it is."""
        try:
            with self._writing:
                rows = self._rows()
                kept = {key: value for key, value in rows.items() if wanted(key, value)}
                if len(kept) < len(rows):
                    write_json(self._path(), kept, private=True)
        except StoreError as error:
            logger.warning("%s", error)

    def skip(self, key: str, why: Exception) -> None:
        """Report a row that its reader cannot use. The next `put` replaces it."""
        self._tell(StoreError(f"{self._path()}: the entry {key[:80]!r} cannot be read: {why}.", "It is left out."))

    def _begun_again(self, error: StoreError) -> dict[str, Any]:
        if isinstance(error.__cause__, OSError):  # it may be whole: only reading it failed
            raise error
        aside = set_aside(self._path())
        self._tell(StoreError(f"{self._path()} was damaged.", f"It is now {aside.name}, and a new file was begun."))
        return {}

    def _tell(self, error: StoreError) -> None:
        if str(error) != str(self.problem):
            logger.warning("%s", error)
        self.problem = error

    def _rows(self) -> dict[str, Any]:
        rows = read_json(self._path(), {})
        if not isinstance(rows, dict):
            raise StoreError(f"{self._path()} cannot be read: it is not a JSON object.", "Repair or remove that file.")
        return rows

"""JSON files: read with errors that say what to do, written so that a crash leaves the old or the new file. Knows no contents.

`Remembered` is for what can be found out again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from smolvlm_core.errors import StoreError

logger = logging.getLogger(__name__)


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


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A new file that takes the place of another one in a single step, when the block ends without an exception.

    Raises:
        StoreError: it cannot be written. The old file stays, and no temporary file is left.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            yield file
        temporary.chmod(0o600 if private else 0o644)
        os.replace(temporary, path)
    except OSError as error:
        fix = "Free some disk space, or check the folder's permissions."
        raise StoreError(f"{path} cannot be written: {error}.", fix) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # already moved where all went well


class Remembered:
    """Rows of a JSON file by key. An unreadable file is left as it is and counts as empty. Used from any thread.

    `path` is asked for at each use: the data folder can change between them.
    """

    def __init__(self, path: Callable[[], Path], *, private: bool = False) -> None:
        self._path, self._private, self._writing = path, private, threading.Lock()

    def get(self, key: str) -> Any:
        """None where there is no such row."""
        try:
            return self._rows().get(key)
        except StoreError as error:
            logger.warning("%s", error)
            return None

    def put(self, key: str, value: Any) -> None:
        """A row that cannot be written is logged: it is found out again."""
        try:
            self.store(key, value)
        except StoreError as error:
            logger.warning("%s", error)

    def store(self, key: str, value: Any) -> None:
        """As `put`, but raises StoreError."""
        with self._writing:
            write_json(self._path(), {**self._rows(), key: value}, private=self._private)

    def keep(self, wanted: Callable[[str, Any], bool]) -> None:
        """Drop the rows that are not wanted. A file that cannot be read or written is logged and left as it is."""
        try:
            with self._writing:
                rows = self._rows()
                kept = {key: value for key, value in rows.items() if wanted(key, value)}
                if len(kept) < len(rows):
                    write_json(self._path(), kept, private=self._private)
        except StoreError as error:
            logger.warning("%s", error)

    def _rows(self) -> dict[str, Any]:
        rows = read_json(self._path(), {})
        if not isinstance(rows, dict):
            raise StoreError(f"{self._path()} cannot be read: it is not a JSON object.", "Repair or remove that file.")
        return rows

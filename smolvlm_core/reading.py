"""Files that others name or made: their type and size are looked at before they are read. Knows no formats.

A device such as /dev/zero never ends, and opening a FIFO waits until something writes to it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from smolvlm_core.errors import LensError

# A FIFO opened this way does not wait. Windows has no such flag, and no FIFOs among files; there, text mode is the default.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_file(path: Path, error: type[LensError], max_bytes: int | None = None) -> int:
    """The size in bytes of a regular file; links are followed.

    Raises:
        error: it is missing, a folder, a device or a FIFO, or larger than `max_bytes`.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as cause:  # ValueError: a null character in the name
        raise _unreadable(path, error, cause) from cause
    return _checked(path, status, error, max_bytes)


def read_file(path: Path, error: type[LensError], max_bytes: int) -> bytes:
    """All bytes of a regular file. Raises as `check_file`, also where it cannot be read or grows while it is read."""
    data = _read(path, error, max_bytes + 1, max_bytes)
    if len(data) > max_bytes:  # some files of /proc have no size
        raise _too_large(path, error, len(data), max_bytes)
    return data


def read_head(path: Path, error: type[LensError], count: int) -> bytes:
    """The first `count` bytes of a regular file of any size. Raises as `check_file`, also where it cannot be read."""
    return _read(path, error, count, None)


def read_text(path: Path, error: type[LensError], max_bytes: int) -> str:
    """As `read_file`. Also raises where the file is not UTF-8."""
    try:
        return read_file(path, error, max_bytes).decode("utf-8")
    except UnicodeDecodeError as cause:
        raise error(f"{path} is not UTF-8 text: {cause}.", "Save it as UTF-8, or choose another file.") from cause


def _read(path: Path, error: type[LensError], count: int, max_bytes: int | None) -> bytes:
    try:
        with os.fdopen(os.open(path, _OPEN_FLAGS), "rb") as file:
            _checked(path, os.fstat(file.fileno()), error, max_bytes)
            return file.read(count)
    except (OSError, ValueError) as cause:
        raise _unreadable(path, error, cause) from cause


def _checked(path: Path, status: os.stat_result, error: type[LensError], max_bytes: int | None) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise _no_file(path, error, "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe")
    if max_bytes is not None and status.st_size > max_bytes:
        raise _too_large(path, error, status.st_size, max_bytes)
    return status.st_size


def _no_file(path: Path, error: type[LensError], kind: str) -> LensError:
    return error(f"{path} is {kind}, not a file.", "Give the path of a file.")


def _too_large(path: Path, error: type[LensError], size_bytes: int, max_bytes: int) -> LensError:
    limit, unit = (max_bytes // 2**20, "MB") if max_bytes >= 2**20 else (max_bytes // 2**10, "KB")
    return error(f"{path} has more than the limit of {limit} {unit} ({size_bytes} bytes).", "Choose a smaller file.")


def _unreadable(path: Path, error: type[LensError], cause: OSError | ValueError) -> LensError:
    if isinstance(cause, FileNotFoundError):
        return error(f"{path} does not exist.", "Check the path.")
    if isinstance(cause, IsADirectoryError):
        return _no_file(path, error, "a folder")
    reason = (cause.strerror or cause) if isinstance(cause, OSError) else cause
    return error(f"{path} cannot be read: {reason}.", "Check the path and its permissions.")

"""How much disk space a user has taken. Knows folders; not what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from smolvlm_core.errors import StoreError

COUNTED = ("media", "uploads", "exports", "timelines.sqlite3")


def used_bytes(folder: Path) -> int:
    """Of the pictures, clips, uploads, timelines and exports in a user's folder."""
    return sum(_sizes(folder / name) for name in COUNTED)


def refuse_if_full(folder: Path, more_bytes: int, most_bytes: int) -> None:
    """Raises StoreError where more would be too much."""
    used = used_bytes(folder)
    if used + more_bytes > most_bytes:
        raise StoreError(
            f"Your pictures, clips, uploads and timelines take {used / 2**30:.2f} GiB, and {more_bytes / 2**30:.2f} GiB more would be over "
            f"your limit of {most_bytes / 2**30:g} GiB.",
            "Delete conversations, timelines or uploads that you no longer need.",
        )


def _sizes(folder: Path) -> int:
    return sum(_size(path) for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # deleted meanwhile
        return 0

"""Files made of timelines that wait to be downloaded. Each timeline has one of a kind; those older than a day are removed when the app starts, and when another is made."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path

from smolvlm_core.errors import StoreError
from smolvlm_core.files import WRITE_HINT, make_folder

FOLDER = "exports"  # of the data folder; known to housekeeping.py
KEPT_SECONDS = 24 * 3600.0
_OWNER = re.compile(r"[\w-]{1,100}")


class Downloads:
    """In `exports/OWNER/NAME` of a data folder, where OWNER is a timeline's identity with what was made of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._sweep()

    def place(self, owner: str, name: str) -> Path:
        """Where to write a file. What this owner had before, and what is older than a day, is removed.

        Raises:
            StoreError: the folder cannot be made.
            ValueError: `owner` or `name` is no plain name.
        """
        if not _are_plain(owner, name):
            raise ValueError(f"no plain names: {owner!r}, {name!r}")
        self.forget(owner)
        self._sweep()
        path = self._folder / owner / name
        try:
            make_folder(path.parent)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error}.", WRITE_HINT) from error
        return path

    def find(self, owner: str, name: str) -> Path | None:
        """None for what is not there, or no plain name."""
        if not _are_plain(owner, name):
            return None
        path = self._folder / owner / name
        return path if path.is_file() and not path.is_symlink() else None

    def forget(self, owner: str) -> None:
        if _OWNER.fullmatch(owner):
            shutil.rmtree(self._folder / owner, ignore_errors=True)

    def _sweep(self) -> None:
        with contextlib.suppress(OSError):
            for other in list(self._folder.iterdir()):
                with contextlib.suppress(OSError):
                    if time.time() - other.stat().st_mtime > KEPT_SECONDS:
                        shutil.rmtree(other)


def _are_plain(owner: str, name: str) -> bool:
    return bool(_OWNER.fullmatch(owner)) and name not in ("", ".", "..") and Path(name).name == name

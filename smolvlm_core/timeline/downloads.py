"""Files made of timelines that wait to be downloaded. Each timeline has one of a kind; after a day they are removed."""

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

    def place(self, owner: str, name: str) -> Path:
        """Where to write a file. What this owner had before, and what is older than a day, is removed. Raises StoreError."""
        self.forget(owner)
        for other in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(other)
        path = self._folder / owner / name
        try:
            make_folder(path.parent)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error}.", WRITE_HINT) from error
        return path

    def find(self, owner: str, name: str) -> Path | None:
        """None for what is not there, or no plain name."""
        if not _OWNER.fullmatch(owner) or name in ("", ".", "..") or Path(name).name != name:
            return None
        path = self._folder / owner / name
        return path if path.is_file() and not path.is_symlink() else None

    def forget(self, owner: str) -> None:
        if _OWNER.fullmatch(owner):
            shutil.rmtree(self._folder / owner, ignore_errors=True)

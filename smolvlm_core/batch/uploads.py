"""Uploaded pictures and clips, in folders with names that people give. Does not know batches or pages."""

from __future__ import annotations

import glob
import hashlib
import io
import itertools
import shutil
from pathlib import Path, PurePath

from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.files import replacing

MAX_NAME_CHARACTERS = 80
FORBIDDEN = '/\\:*?"<>|[]\0'  # in names of folders on some system, or in a glob


class Uploads:
    """The folders below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        except OSError:
            return []

    def path(self, name: str) -> Path:
        """Raises LensError for what is no name of a folder."""
        if (
            name != name.strip()
            or not 0 < len(name) <= MAX_NAME_CHARACTERS
            or name[0] == "."
            or set(name) & set(FORBIDDEN)
        ):
            raise LensError(f"{name!r} is not a name for a folder.", "Use letters, digits and spaces.")
        return self.folder / name

    def input(self, name: str) -> str:
        """What `expand` takes for the files of a folder, archives among them."""
        return f"{glob.escape(str(self.path(name).absolute()))}/*"

    def is_input(self, text: str) -> bool:
        """Whether an input of a batch is one of `input`, not a path that somebody named."""
        return PurePath(text).parent.parent == PurePath(glob.escape(str(self.folder.absolute())))

    def files(self, name: str) -> list[Path]:
        try:
            return sorted(path for path in self.path(name).iterdir() if path.is_file())
        except OSError:
            return []

    def size_bytes(self, name: str) -> int:
        return sum(path.stat().st_size for path in self.files(name))

    def add(self, name: str, file: io.BufferedIOBase, file_name: str) -> Path:
        """Copy a file into a folder. The same file is stored once; another one of the same name gets a number.

        Raises:
            LensError: the folder's name cannot be used, or it cannot be written.
        """
        wanted = PurePath(file_name.replace("\\", "/")).name.lstrip(".") or "file"
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").digest()
        for number in itertools.count(1):
            numbered = wanted if number == 1 else f"{PurePath(wanted).stem} ({number}){PurePath(wanted).suffix}"
            path = self.path(name) / numbered
            if not path.exists():
                break
            if _digest(path) == digest:
                return path
        file.seek(0)
        with replacing(path, private=True) as copy:
            shutil.copyfileobj(file, copy)
        return path

    def delete(self, name: str) -> None:
        """Raises StoreError."""
        path = self.path(name)
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{path} cannot be deleted: {error}.", "Check its permissions.") from error


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

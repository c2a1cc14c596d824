"""Images, frames and clips on disk, in files named by content hash. Does not know messages."""

from __future__ import annotations

import hashlib
import io
import math
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from smolvlm_core import media
from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.database import Database
from smolvlm_core.errors import StoreError
from smolvlm_core.files import make_folder, sweep, temporary_folder

PARTIAL = "partial-"  # begins what earlier versions left behind in a crash
NAME = re.compile(r"[0-9A-Za-z]{1,64}(\.[0-9a-z]{1,5})?")
ABANDONED_SECONDS = 24 * 3600
DECODED_BYTES = 512 * 2**20  # limit of the cache of decoded images


class MediaStore:
    """Stores each file once, no matter how many messages use it. Thread-safe."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self._database = folder, database
        self._decoded = ByteCache(DECODED_BYTES, media.decoded_bytes)

    def add(self, data: bytes, name: str, mime: str) -> str:
        """Store bytes. Returns their SHA-256. Raises StoreError."""
        sha256 = media.sha256_of(data)
        if self._row(sha256) and self.path(sha256).exists():
            return sha256  # every question about a clip adds the same frames again
        return self.add_file(io.BytesIO(data), name, mime)

    def add_file(self, file: BinaryIO, name: str, mime: str) -> str:
        """Store a file without reading it into memory at once. Returns its SHA-256. Raises StoreError."""
        try:
            make_folder(self.folder)
            with temporary_folder(self.folder, "media") as temporary:
                partial = temporary / "partial"
                sha256, size = _copy(file, partial)
                path = self.path(sha256, name)
                if not path.exists():
                    make_folder(path.parent)
                    partial.chmod(0o600)
                    partial.replace(path)
        except OSError as error:
            raise StoreError(f"{name} cannot be stored: {error}.", "Free some disk space and try again.") from error
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO media (sha256, name, mime, bytes) VALUES (?, ?, ?, ?)",
                (sha256, path.name, mime, size),
            )
        return sha256

    def path(self, sha256: str, name: str = "") -> Path:
        """The path of a file. `name` is used only for a file that is not stored yet: the path gets its extension.

        Raises:
            StoreError: a damaged database names a file that is not one of the media.
        """
        file_name = self._row(sha256) or sha256 + _safe_suffix(name)
        if not NAME.fullmatch(file_name) or not file_name.startswith(sha256):
            raise StoreError(
                f"The database of pictures is damaged: {file_name[:80]!r} is no name of one.", "Add the picture again."
            )
        return self.folder / sha256[:2] / file_name

    def bytes(self, sha256: str) -> bytes:
        """The contents of a file. Raises StoreError if it is missing."""
        return _read(self.path(sha256))

    def picture(self, sha256: str) -> Image.Image:
        """A stored picture, decoded. Raises StoreError or MediaError."""
        return self._decoded.get(sha256, lambda: self._open(sha256))

    def _open(self, sha256: str) -> Image.Image:
        path = self.path(sha256)
        return media.open_image(_read(path), path.name).image

    def discard(self, sha256s: Iterable[str]) -> None:
        """Delete files. The caller must make sure that no message uses them. Raises StoreError."""
        unused = set(sha256s)
        paths = [path for sha256 in unused if (path := self._path_or_none(sha256)) is not None]
        with self._database.transaction() as db:
            db.executemany("DELETE FROM media WHERE sha256 = ?", [(sha256,) for sha256 in unused])
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{path} cannot be deleted: {error}.", "Check the folder's permissions.") from error

    def abandoned(self) -> set[str]:
        """Files that are at least a day old. Also deletes partial copies left behind by a crash."""
        sweep(self.folder)
        limit = time.time() - ABANDONED_SECONDS
        for partial in self.folder.glob(f"{PARTIAL}*"):
            if _changed(partial) < limit:
                shutil.rmtree(partial, ignore_errors=True)
        stored = [str(row["sha256"]) for row in self._database.rows("SELECT sha256 FROM media")]
        paths = {sha256: self._path_or_none(sha256) for sha256 in stored}
        return {sha256 for sha256, path in paths.items() if path is not None and _changed(path) < limit}

    def _path_or_none(self, sha256: str) -> Path | None:
        try:
            return self.path(sha256)
        except StoreError:
            return None

    def _row(self, sha256: str) -> str:
        """The name of the file, or "" if it is not stored."""
        row = self._database.row("SELECT name FROM media WHERE sha256 = ?", (sha256,))
        return str(row["name"]) if row else ""


def _changed(path: Path) -> float:
    """When a file last changed, in seconds since the epoch; never for one that is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return math.inf


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            "An image of this conversation is missing from the data folder.",
            "Remove it from the question, or add it again.",
        ) from error


def _safe_suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ""


def _copy(source: BinaryIO, target: Path) -> tuple[str, int]:
    """Returns the SHA-256 and the size in bytes."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        while piece := source.read(1 << 20):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
    return digest.hexdigest(), size

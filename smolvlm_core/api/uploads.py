"""Files uploaded to /v1/files: kept in a temporary folder until they are deleted, the server ends, or others need the room."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from smolvlm_core.api.errors import ApiError, invalid
from smolvlm_core.errors import StoreError
from smolvlm_core.files import make_temporary_folder, sweep

CHUNK_BYTES = 2**20
NAME = "smolvlm-lens"
MOST_FILES = 1000  # of each owner: even small ones take room on a disk


@dataclass(frozen=True, kw_only=True)
class Upload:
    """`name` is the client's and only shown. `owner`: the user whose key sent it; "" where users have no keys."""

    id: str
    name: str
    sha256: str
    size_bytes: int
    created: int
    path: Path
    owner: str = ""

    def as_json(self) -> dict[str, Any]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created,
            "filename": self.name,
            "purpose": "vision",
        }


class Uploads:
    """At most `max_bytes` and MOST_FILES of each owner: their oldest make room. Nobody finds those of another. Used from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._folder: Path | None = None
        self._uploads: dict[str, Upload] = {}  # oldest first
        self._lock = threading.Lock()
        sweep(Path(tempfile.gettempdir()), NAME)  # of servers that were killed

    def add(self, file: BinaryIO, name: str, owner: str = "") -> Upload:
        """Raises ApiError where it is too large."""
        identity = f"file-{secrets.token_hex(12)}"
        path = self._path_of(identity, name)
        try:
            size, sha256 = self._write(file, name, path)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StoreError(f"{name} cannot be stored: {error.strerror}.", "Free some disk space.") from error
            raise
        upload = Upload(
            id=identity, name=name, sha256=sha256, size_bytes=size, created=int(time.time()), path=path, owner=owner
        )
        with self._lock:
            self._uploads[identity] = upload
            theirs = [u for u in self._uploads.values() if u.owner == owner]
            while sum(u.size_bytes for u in theirs) > self._max_bytes or len(theirs) > MOST_FILES:
                self._uploads.pop(theirs.pop(0).id).path.unlink(missing_ok=True)
        return upload

    def _write(self, file: BinaryIO, name: str, path: Path) -> tuple[int, str]:
        """(bytes, SHA-256). Raises ApiError where the file is empty or too large."""
        size, digest = 0, hashlib.sha256()
        with path.open("wb") as out:
            while chunk := file.read(CHUNK_BYTES):
                size += len(chunk)
                if size > self._max_bytes:
                    limit = f"{name} has more than {self._max_bytes // 2**20} MB."
                    raise ApiError(413, "file_too_large", limit, "Upload a shorter part of it.")
                digest.update(chunk)
                out.write(chunk)
        if not size:
            raise invalid(f"{name} is empty.", "Choose another file.")
        return size, digest.hexdigest()

    def all(self, owner: str = "") -> list[Upload]:
        with self._lock:
            return [upload for upload in self._uploads.values() if upload.owner == owner]

    def find(self, identity: str, owner: str = "") -> Upload:
        """Raises ApiError."""
        with self._lock:
            upload = self._uploads.get(identity)
        if upload is None or upload.owner != owner or not upload.path.exists():
            raise ApiError(404, "file_not_found", f"There is no file {identity!r}.", "Upload it to /v1/files again.")
        return upload

    def remove(self, identity: str, owner: str = "") -> None:
        """Raises ApiError."""
        upload = self.find(identity, owner)
        with self._lock:
            self._uploads.pop(identity, None)
        upload.path.unlink(missing_ok=True)  # who reads it now keeps it open

    def close(self) -> None:
        with self._lock:
            folder, self._folder, self._uploads = self._folder, None, {}
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _path_of(self, identity: str, name: str) -> Path:
        """Raises StoreError where there is no room for a folder."""
        with self._lock:
            if self._folder is None:
                try:
                    self._folder = make_temporary_folder(Path(tempfile.gettempdir()), NAME)
                except OSError as error:
                    raise StoreError(f"{name} cannot be stored: {error}.", "Free some disk space.") from error
            return self._folder / identity

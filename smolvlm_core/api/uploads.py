"""Files uploaded to /v1/files: kept in a temporary folder until they are deleted, the server ends, or others need the room."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from smolvlm_core.api.errors import ApiError

CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """`name` is the client's and only shown."""

    id: str
    name: str
    size_bytes: int
    created: int
    path: Path

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
    """At most `max_bytes` together: the oldest make room. Used from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._folder: Path | None = None
        self._uploads: dict[str, Upload] = {}  # oldest first
        self._lock = threading.Lock()

    def add(self, file: BinaryIO, name: str) -> Upload:
        """Raises ApiError where it is too large."""
        identity = f"file-{secrets.token_hex(12)}"
        path = self._made_folder() / identity
        size = 0
        with path.open("wb") as out:
            while chunk := file.read(CHUNK_BYTES):
                size += len(chunk)
                if size > self._max_bytes:
                    break
                out.write(chunk)
        if size > self._max_bytes:
            path.unlink()
            raise ApiError(413, "file_too_large", f"{name} has more than {self._max_bytes // 2**20} MB.", "Cut it.")
        upload = Upload(id=identity, name=name, size_bytes=size, created=int(time.time()), path=path)
        with self._lock:
            self._uploads[identity] = upload
            while sum(u.size_bytes for u in self._uploads.values()) > self._max_bytes:
                self._uploads.pop(next(iter(self._uploads))).path.unlink(missing_ok=True)
        return upload

    def all(self) -> list[Upload]:
        with self._lock:
            return list(self._uploads.values())

    def find(self, identity: str) -> Upload:
        """Raises ApiError."""
        with self._lock:
            upload = self._uploads.get(identity)
        if upload is None:
            raise ApiError(404, "file_not_found", f"There is no file {identity!r}.", "Upload it to /v1/files again.")
        return upload

    def remove(self, identity: str) -> None:
        """Raises ApiError."""
        upload = self.find(identity)
        with self._lock:
            self._uploads.pop(identity, None)
        upload.path.unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            folder, self._folder, self._uploads = self._folder, None, {}
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _made_folder(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="smolvlm-lens-"))  # readable by this user only
            return self._folder

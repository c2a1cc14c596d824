"""What a batch asks: its items, and how each is asked. Plain data that also goes to other machines."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from smolvlm_core.conversations.unsaved import ClipSampling
from smolvlm_core.errors import MediaError
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.template import VideoPrompt
from smolvlm_core.reading import read_head

HEAD_BYTES = 12
MAX_MEMBER_BYTES = 512 * 2**20  # an archive's member is read into memory


@dataclass(frozen=True, kw_only=True)
class Item:
    """A picture or clip, and what is asked about it.

    `member`: its name within `path`, where that is a zip archive; else "".
    """

    path: Path
    prompt: str
    member: str = ""

    @property
    def name(self) -> str:
        """Unique in a batch together with the prompt: the path, and the name within an archive."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @classmethod
    def of_name(cls, name: str, prompt: str) -> Item:
        """The item with this `name`. Raises MediaError where its file or archive is gone."""
        at = 0
        while not is_file(name):
            at = name.find("!", at) + 1
            if not at:
                raise MediaError(f"{name} is not there any more.", "Put it back, or leave its answer as it is.")
            if is_file(name[: at - 1]):
                return cls(path=Path(name[: at - 1]), prompt=prompt, member=name[at:])
        return cls(path=Path(name), prompt=prompt)

    def stamp(self) -> tuple[int, int]:
        """(size in bytes, time of the last change in ns) of the file or archive. Raises MediaError, also for what is no file."""
        try:
            found = self.path.stat()
        except (OSError, ValueError) as error:
            raise _unreadable(self.name, error) from error
        if not stat.S_ISREG(found.st_mode):  # reading a FIFO or device may never end
            raise MediaError(f"{self.name} is not a file.", "Check the path.")
        return found.st_size, found.st_mtime_ns

    def head(self) -> bytes:
        """The first bytes, by which formats are told apart. Raises MediaError."""
        return self._read(HEAD_BYTES)

    def source(self) -> Path | bytes:
        """The file's path; of an archive's member, its bytes. Raises MediaError."""
        return self._read(-1) if self.member else self.path

    def sha256(self) -> str:
        """Of the file's bytes. Raises MediaError."""
        if self.member:
            return hashlib.sha256(self._read(-1)).hexdigest()
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def _read(self, count: int) -> bytes:
        try:
            if not self.member:
                return read_head(self.path, MediaError, count)
            archive = _archive(self.path, *self.stamp())
            if archive.getinfo(self.member).file_size > MAX_MEMBER_BYTES:
                raise MediaError(
                    f"{self.name} has more than {MAX_MEMBER_BYTES // 2**20} MB.", "Unpack the archive first."
                )
            with archive.open(self.member) as member:
                return member.read(count)
        except (
            OSError,
            KeyError,
            ValueError,
            RuntimeError,
            NotImplementedError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise _unreadable(self.name, error) from error


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How each item is asked.

    `model`: `Backend.identity()`, so that other weights are another plan. `json_schema`: a JSON schema as text that answers are
    checked against; a backend that can enforce it has it in `settings` too.
    """

    model: str
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    sampling: ClipSampling = field(default_factory=ClipSampling)
    video_prompt: VideoPrompt = "processor"
    json_schema: str = ""

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of all of it. Answers of the same fingerprint, prompt and file need not be asked again."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def is_file(name: str) -> bool:
    """False, too, where the name of an archive's member makes it too long for a path."""
    return os.path.isfile(name)  # noqa: PTH113 (Path.is_file raises there)


@lru_cache(maxsize=2)
def _archive(path: Path, size_bytes: int, modified_ns: int) -> zipfile.ZipFile:
    """Stays open: reading the directory of an archive takes as long as it has members. Several threads may read members."""
    return zipfile.ZipFile(path)


def _unreadable(name: str, error: Exception) -> MediaError:
    reason = (error.strerror or error) if isinstance(error, OSError) else error
    return MediaError(f"{name} cannot be read: {reason}.", "Check the path and its permissions.")

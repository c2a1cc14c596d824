"""The file of a clip that a timeline is about: where it is, and whether it is still the same. Does not know timelines' contents."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from smolvlm_core.errors import MediaError
from smolvlm_core.timeline.records import Clip, Timeline
from smolvlm_core.video import open_clip


def clip_of_file(path: Path) -> Clip:
    """A clip of a file that stays where it is. Raises MediaError where it cannot be read."""
    opened = open_clip(path)
    opened.close()
    try:
        found = path.stat()
        sha256 = _sha256(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error}.", "Check the path and its permissions.") from error
    return Clip(
        sha256=sha256, name=path.name, path=str(path.resolve()), modified_ns=found.st_mtime_ns, facts=opened.facts
    )


def is_same(path: Path, clip: Clip) -> bool:
    """Whether a file is the clip. Its content is read where it has changed since; False where it cannot be read."""
    try:
        found = path.stat()
        if not path.is_file() or (clip.facts is not None and found.st_size != clip.facts.size_bytes):
            return False
        if found.st_mtime_ns == clip.modified_ns:
            return True
        return _sha256(path, found.st_size, found.st_mtime_ns) == clip.sha256
    except OSError:
        return False


def gone(timeline: Timeline) -> MediaError:
    return MediaError(f"The clip {timeline.clip.name} is not there any more.", "Add the same clip again.")


@lru_cache(maxsize=64)
def _sha256(path: Path, size_bytes: int, modified_ns: int) -> str:
    """Of a file with this size and time, so that it is read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What a data folder looks like: only its user can read it, and nothing that a crash left half done stays. Knows names only."""

from __future__ import annotations

import contextlib
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

from smolvlm_core.files import sweep

logger = logging.getLogger(__name__)
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
FOLDERS = ("batches", "checks", "encoders", "exports", "features", "gguf", "logs", "media", "uploads", "users")
FILES = (
    "backends.json",
    "conversations.sqlite3",
    "conversations.sqlite3-shm",
    "conversations.sqlite3-wal",
    "decode.json",
    "hybrid.json",
    "login.key",
    "preferences.json",
    "signed-out.json",
    "timelines.sqlite3",
    "timelines.sqlite3-shm",
    "timelines.sqlite3-wal",
    "users.json",
    "verdicts.json",
    "vision-encoders.json",
    "votes.jsonl",
)


def tidy(folder: Path) -> None:
    """Make a data folder private, and remove temporary files of processes that ended. Creates nothing. Never raises.

    Call it when a process starts to use the folder. It reads the folder and two levels below it.
    """
    try:
        _tidy(folder)
    except OSError as error:
        logger.warning("%s cannot be looked through: %s", folder, error)


def _tidy(folder: Path) -> None:
    if not folder.is_dir():
        return
    if _is_ours(folder):
        _restrict(folder, PRIVATE_FOLDER)
    for path in _private(folder):
        _restrict(path, PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
    removed = sum(sweep(path) for path in (folder, *_subfolders(folder)))
    if removed:
        logger.info("removed %d temporary files that a crash left in %s", removed, folder)


def _private(folder: Path) -> Iterator[Path]:
    yield from (path for name in (*FOLDERS, *FILES) if (path := folder / name).exists())
    for pattern in ("batches/*/batch.json", "batches/*/results.jsonl", "checks/*", "logs/*"):
        yield from folder.glob(pattern)


def _subfolders(folder: Path) -> Iterator[Path]:
    for name in FOLDERS:
        with contextlib.suppress(OSError):
            yield folder / name
            yield from (path for path in (folder / name).iterdir() if path.is_dir() and not path.is_symlink())


def _is_ours(folder: Path) -> bool:
    """Whether it is used for this app alone: not a home folder, a shared one such as /tmp, or where a disk is mounted."""
    try:
        shared = folder.stat().st_mode & stat.S_ISVTX
        return not (shared or folder.is_mount() or folder.resolve() == Path.home().resolve())
    except (OSError, RuntimeError):
        return False


def _restrict(path: Path, mode: int) -> None:
    """Take rights away from others. A file of another user, or on a file system without rights, stays as it is."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or not found.st_mode & 0o077:
            return
        path.chmod(found.st_mode & mode)
    except OSError as error:
        logger.warning("others may be able to read %s: %s", path, error)

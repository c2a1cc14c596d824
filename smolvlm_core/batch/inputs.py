"""From what a user names to items: files, folders, globs, zip archives and lists. Reads no pictures and no clips."""

from __future__ import annotations

import glob
import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath

from smolvlm_core.batch.lists import LIST_EXTENSIONS, read_list
from smolvlm_core.batch.plan import Item
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.media import IMAGE_EXTENSIONS
from smolvlm_core.text import valid_text
from smolvlm_core.video import VIDEO_EXTENSIONS

EXTENSIONS = frozenset((*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS))
ARCHIVE_EXTENSION = "zip"


def expand(inputs: Iterable[str | Path], prompt: str = "") -> Iterator[Item]:
    """The items that inputs stand for, each once, with absolute paths. Lazily, always in the same order.

    Folders are searched with their subfolders, but not through links to folders. From folders, globs and archives come files
    with a known extension that are not hidden; a file that is named itself, or by a list, always comes.

    Args:
        prompt: for every item that has none of its own in a list.

    Raises:
        LensError: an input matches nothing or is no file, a list or archive is damaged, or an item has no prompt.
    """
    seen: set[bytes] = set()
    for name in inputs:
        for item in _of_input(str(name), valid_text(prompt).strip()):
            key = hashlib.sha256("\0".join((item.name, item.prompt)).encode("utf-8", "surrogatepass")).digest()[:16]
            if key not in seen:
                seen.add(key)
                yield item


def _of_input(name: str, prompt: str) -> Iterator[Item]:
    path, count = _absolute(name), 0
    if path.is_dir() or path.is_file():
        found = _of_path(path, prompt)
    elif path.exists():
        raise MediaError(f"{name} is neither a file nor a folder.", "Name a file, a folder or a glob.")
    elif glob.has_magic(name):
        found = _of_glob(name, prompt)
    else:
        raise MediaError(f"{name} does not exist.", "Check the path.")
    for item in found:
        count += 1
        yield item
    if not count:
        raise MediaError(f"{name} has no pictures or clips.", f"Known extensions: {', '.join(sorted(EXTENSIONS))}.")


def _of_path(path: Path, prompt: str) -> Iterator[Item]:
    if path.is_dir():
        return (_item(file, prompt) for file in _files_in(path))
    extension = _extension(path.name)
    if extension in LIST_EXTENSIONS:
        return _of_list(path, prompt)
    if extension == ARCHIVE_EXTENSION:
        return _of_archive(path, prompt)
    return iter((_item(path, prompt),))


def _of_glob(pattern: str, prompt: str) -> Iterator[Item]:
    """Folders that match are searched too. Lists come only where the pattern ends as they do: a folder may hold other ones."""
    wanted, named = {*EXTENSIONS, ARCHIVE_EXTENSION, _extension(pattern)}, set(PurePath(pattern).parts)
    anchor = Path(pattern).anchor
    try:
        matches = sorted(Path(anchor).glob(pattern.removeprefix(anchor)))
    except ValueError as error:
        raise MediaError(f"{pattern} is not a pattern: {error}.", "Use *, ? and **, as in photos/**/*.jpg.") from error
    for path in matches:
        if any(part.startswith(".") and part not in named for part in path.parts):
            continue
        if (path.is_dir() and not path.is_symlink()) or (path.is_file() and _extension(path.name) in wanted):
            yield from _of_path(_absolute(path), prompt)


def _of_list(path: Path, prompt: str) -> Iterator[Item]:
    for row in read_list(path):
        yield _item(_absolute(path.parent / row.path), row.prompt or prompt, f" (line {row.line} of {path})")


def _of_archive(path: Path, prompt: str) -> Iterator[Item]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise MediaError(f"{path} is not a zip archive that can be read: {error}.", "Create it again.") from error
    for member in members:
        if _is_wanted(member):
            yield _item(path, prompt, member=member)


def _files_in(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise MediaError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if _is_wanted(name) and (path := Path(parent, name)).is_file():  # no device, FIFO or broken link
                yield path


def _item(path: Path, prompt: str, where: str = "", member: str = "") -> Item:
    if not prompt:
        raise LensError(f"{path}{where} has no prompt.", "Give a prompt for all, or one for each row of a list.")
    return Item(path=path, prompt=prompt, member=member)


def _is_wanted(name: str) -> bool:
    """By its extension; nothing hidden."""
    return _extension(name) in EXTENSIONS and not any(part.startswith(".") for part in PurePosixPath(name).parts)


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix.lower().lstrip(".")


def _absolute(path: str | Path) -> Path:
    """Without `..`, so that one file has one name from every folder. Links stay."""
    return Path(os.path.normpath(Path(path).absolute()))

"""The answers as a zip archive of text files, for items whose folder is not the user's own. Does not know backends."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from smolvlm_core.batch.records import Record
from smolvlm_core.batch.sidecars import SidecarOptions, Sidecars
from smolvlm_core.batch.table import ARCHIVE, common_parent
from smolvlm_core.files import replacing


def zip_sidecars(records: Iterable[Record], path: Path, options: SidecarOptions | None = None) -> int:
    """Write a text file for each answer, in the folders that the items are in. Failed items have none. Returns their number.

    Where two would have the same name (cat.jpg and cat.png), the second has its whole name: cat.png.txt.

    Raises:
        StoreError: it cannot be written.
    """
    sidecars = Sidecars(options or SidecarOptions())
    answered = [record for record in records if not record.failed]
    parent = common_parent([record.item for record in answered])
    taken: set[str] = set()
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in answered:
            name = _free_name(record.item.removeprefix(parent), sidecars.options.suffix, taken)
            archive.writestr(name, sidecars.text_of(record))
    return len(answered)


def _free_name(item: str, suffix: str, taken: set[str]) -> str:
    parts = item.replace(ARCHIVE, ".zip/").replace("\\", "/").split("/")
    item = "/".join(part for part in parts if part not in ("", ".", ".."))  # an archive can have any names
    plain = str(PurePosixPath(item).with_suffix(suffix))
    names = itertools.chain((plain, f"{item}{suffix}"), (f"{item}-{n}{suffix}" for n in itertools.count(2)))
    name = next(name for name in names if name.casefold() not in taken)
    taken.add(name.casefold())
    return name

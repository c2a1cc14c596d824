"""A text file beside each picture or clip with its answer, as captioning tools read it. Does not know backends."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from smolvlm_core.batch.inputs import EXTENSIONS
from smolvlm_core.batch.plan import Item, is_file
from smolvlm_core.batch.records import Record
from smolvlm_core.errors import StoreError
from smolvlm_core.files import replacing

Existing = Literal["skip", "overwrite", "append"]
Outcome = Literal["written", "exists", "shared", "no file", "failed"]
WHAT: dict[Outcome, str] = {
    "written": "written",
    "exists": "left as they were",
    "shared": "not written, since another file or prompt writes the same one",
    "no file": "not written, since the picture or clip is in an archive or gone",
    "failed": "could not be written",
}


@dataclass(frozen=True, kw_only=True)
class SidecarOptions:
    """`suffix` replaces a file's extension. `before` and `after` go around each answer. `existing`: what to do with a file
    that is there already; "append" adds a line.

    Raises:
        ValueError: a value cannot be used.
    """

    suffix: str = ".txt"
    before: str = ""
    after: str = ""
    existing: Existing = "skip"

    def __post_init__(self) -> None:
        if self.suffix.lower().lstrip(".") in EXTENSIONS or not self.suffix.startswith(".") or len(self.suffix) < 2:
            raise ValueError(
                f"the suffix is {self.suffix!r}; it must start with a dot and not be one of a picture or clip"
            )
        if "/" in self.suffix or "\\" in self.suffix or "\0" in self.suffix:
            raise ValueError(f"the suffix {self.suffix!r} is not the end of a file name")
        if self.existing not in get_args(Existing):
            raise ValueError(f"existing is {self.existing!r}; it is one of {', '.join(get_args(Existing))}")


class Sidecars:
    """Writes the sidecars of a batch. `outcomes` counts what became of them; `problem` is the first error.

    A sidecar belongs to the first item that claims it: a.jpg and a.png would both write a.txt. With "append" they share it.
    """

    def __init__(self, options: SidecarOptions) -> None:
        self.options = options
        self.outcomes: Counter[Outcome] = Counter()
        self.problem: StoreError | None = None
        self._owners: dict[bytes, bytes] = {}

    def claim(self, item: Item) -> None:
        """In the order of the items, before any is written."""
        if not item.member:
            self._owners.setdefault(_digest(str(self._path(item.name))), _digest(item.name, item.prompt))

    def write(self, record: Record, *, only_missing: bool = False) -> Outcome:
        """Write an answer's sidecar. An error is counted, not raised: the answer is in the results file.

        Args:
            only_missing: it was answered in an earlier run, so nothing that is there changes.
        """
        return self._counted(lambda: self._write(record, "skip" if only_missing else self.options.existing))

    def rewrite(self, old: Record, new: Record) -> Outcome:
        """An answer was edited or asked again: replace what was written of the old one. A sidecar that somebody else has
        changed since stays as it is."""
        return self._counted(lambda: self._rewrite(old, new))

    def describe(self) -> list[str]:
        """What became of them, one line for each outcome."""
        counts = {what: count for outcome, what in WHAT.items() if (count := self.outcomes[outcome])}
        lines = [f"sidecars {what}: {count}" for what, count in counts.items()]
        return [*lines, str(self.problem)] if self.problem is not None else lines

    def text_of(self, record: Record) -> str:
        """What is written for an answer, with a line end."""
        return f"{self.options.before}{record.text.strip()}{self.options.after}\n"

    def _counted(self, write: Callable[[], Outcome]) -> Outcome:
        try:
            outcome = write()
        except (StoreError, OSError) as error:
            problem = error if isinstance(error, StoreError) else StoreError(f"A sidecar cannot be written: {error}.")
            outcome, self.problem = "failed", self.problem or problem
        self.outcomes[outcome] += 1
        return outcome

    def _write(self, record: Record, existing: Existing) -> Outcome:
        if not is_file(record.item):
            return "no file"
        path, line = self._path(record.item), self.text_of(record)
        owner = self._owners.get(_digest(str(path)))
        if self.options.existing != "append" and owner not in (None, _digest(record.item, record.prompt)):
            return "shared"
        if path.exists() and existing == "skip":
            return "exists"
        before = path.read_bytes() if existing == "append" and path.exists() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        if f"\n{line}".encode() in b"\n" + before:  # the last run ended before it could note that it had written this
            return "exists"
        with replacing(path) as file:
            file.write(before + line.encode())
        return "written"

    def _rewrite(self, old: Record, new: Record) -> Outcome:
        if new.failed:
            return "exists"
        if old.failed or not is_file(old.item) or not self._path(old.item).exists():
            return self._write(new, self.options.existing)
        path, was, line = self._path(old.item), self.text_of(old).encode(), self.text_of(new).encode()
        before = path.read_bytes()
        at = (b"\n" + before).find(b"\n" + was)
        if at < 0 or (self.options.existing != "append" and before != was):
            return "exists"
        with replacing(path) as file:
            file.write(before[:at] + line + before[at + len(was) :])
        return "written"

    def _path(self, item: str) -> Path:
        return Path(item).with_suffix(self.options.suffix)


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]

"""The one list of backends: models of the catalogue, those that a user added, and those discovered on this machine.

Knows kinds of entries, and where the added ones are stored. Builds backends; does not run them.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.backends.hybrid.backend import HybridEntry
from smolvlm_core.backends.llama_cpp import GgufEntry
from smolvlm_core.backends.remote.ollama import OllamaEntry
from smolvlm_core.backends.remote.server_entry import ServerEntry
from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import read_json, write_json
from smolvlm_core.models import catalog
from smolvlm_core.work.pool import Pool

logger = logging.getLogger(__name__)
E = TypeVar("E", bound=type[Entry])
KINDS: dict[str, type[Entry]] = {}
SCAN_SECONDS = 60.0  # between two searches of this machine


def register(entry_type: E) -> E:
    """Make a kind of backend known. Returns the class, so that it serves as a decorator."""
    KINDS[entry_type.kind] = entry_type
    return entry_type


for _kind in (CheckpointEntry, HybridEntry, GgufEntry, ServerEntry, OllamaEntry):
    register(_kind)


def companions_of(entry: Entry) -> list[Entry]:
    """The entries that come with one: those of other kinds that run the same model."""
    return [one for kind in tuple(KINDS.values()) if (one := kind.companion_of(entry)) is not None]


class Registry:
    """Entries of one data folder, and the pool their backends share. Used from any thread.

    `problem` is set where the stored list cannot be read: its entries are then missing from `entries`.
    """

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.pool, self._path = pool, folder / "backends.json"
        self._changing = threading.Lock()
        self._discovered: tuple[Entry, ...] = ()
        self._scanned = 0.0
        self.problem: StoreError | None = None

    def entries(self) -> list[Entry]:
        """Catalogue first, then added, then discovered, each followed by its companions; each key once."""
        try:
            added = self.added()
        except StoreError as error:
            added, self.problem = (), error
        self._scan_in_background()
        known: dict[str, Entry] = {}
        catalogued = [CheckpointEntry.of(spec) for spec in catalog.models()]
        for entry in (*catalogued, *added, *self._discovered):
            for one in (entry, *companions_of(entry)):
                known.setdefault(one.key, one)
        return list(known.values())

    def preferred(self, entry: Entry) -> Entry:
        """The entry itself, or the companion that is the default instead: its self-test found it better on this machine."""
        for one in companions_of(entry):
            result = one.self_test.result() if one.self_test is not None else None
            if result is not None and result.is_better:
                return one
        return entry

    def added(self) -> tuple[Entry, ...]:
        """Those that a user added. A damaged entry is left out: `problem` names it. It stays in the file.

        Raises:
            StoreError: the list cannot be read. The file is left as it is.
        """
        found, problem = [], None
        for row in self._rows():
            try:
                found.append(_entry_of(row))
            except FieldError as error:
                name = str(row.get("title") or row.get("key"))[:80] if isinstance(row, dict) else "an entry"
                fix = "Repair or remove that entry."
                problem = StoreError(f"{self._path}: {name!r} cannot be read: {error}.", fix)
        self.problem = problem
        return tuple(entry for entry in found if entry is not None)

    def _rows(self) -> list[Any]:
        rows = read_json(self._path, [])
        if not isinstance(rows, list):
            raise StoreError(
                f"{self._path} cannot be read: it is not a list of backends.", "Repair or remove that file."
            )
        return rows

    def add(self, entry: Entry) -> Entry:
        """Store an entry. What it replaces is removed, and released from memory. Raises StoreError."""
        with self._changing:
            replaced = [other for other in self.added() if entry.replaces(other)]
            self._write({other.key for other in replaced}, entry)
        for old in replaced:
            if old != entry:
                old.release(self.pool)
        return entry

    def remove(self, key: str) -> None:
        """Forget an added entry and release it from memory. Its files stay. Raises StoreError."""
        with self._changing:
            removed = [entry for entry in self.added() if entry.key == key]
            self._write({key})
        for entry in removed:
            entry.release(self.pool)

    def find(self, name: str) -> Entry:
        """The entry of a key, a title, a hub id, a checkpoint folder, a .gguf file, an address or `ollama:MODEL`.

        A name that is none of these is searched for on this machine, which takes up to some seconds.

        Raises:
            LensError: there is none, or it cannot be used.
        """
        for spec in catalog.models():
            if name.lower() in (spec.key.lower(), spec.repo_id.lower()):
                return CheckpointEntry.of(spec)  # does not need the stored list, which may be unreadable
        for entry in self.added():
            if name in (entry.key, entry.title):
                return entry
        for kind in tuple(KINDS.values()):
            if (parsed := kind.parse(name)) is not None:
                return parsed
        self.scan()
        for entry in self._discovered:
            if name in (entry.key, entry.title):
                return entry
        known = ", ".join(entry.key for entry in self.entries())
        raise LensError(
            f"There is no model or backend called {name!r}.",
            f"Use one of: {known}; or a folder, a .gguf file or an address.",
        )

    def make(self, name: str, precision: str = "") -> Backend:
        """The backend of `find(name)`. Raises LensError."""
        return self.find(name).make(self.pool, precision)

    def scan(self) -> None:
        """Search this machine for backends that were not added. Takes up to some seconds."""
        self._scanned = time.monotonic()
        found: list[Entry] = []
        for kind in tuple(KINDS.values()):
            try:
                found += kind.discover()
            except (LensError, OSError, ValueError) as error:
                logger.warning("searching for %s failed: %s", kind.kind, error)
        self._discovered = tuple(found)

    def _scan_in_background(self) -> None:
        if time.monotonic() - self._scanned > SCAN_SECONDS or not self._scanned:
            self._scanned = time.monotonic()
            threading.Thread(target=self.scan, name="discover-backends", daemon=True).start()

    def _write(self, without: set[str], *entries: Entry) -> None:
        """The list without some keys and with more entries. Rows of unknown kinds stay as they are. It may hold API keys."""
        rows = [row for row in self._rows() if not isinstance(row, dict) or str(row.get("key")) not in without]
        write_json(self._path, [*rows, *({"kind": e.kind, **asdict(e)} for e in entries)], private=True)


def _entry_of(row: Any) -> Entry | None:
    """None for a kind that this version does not know. Rows written before `added` was stored lack it, and have more fields.

    Raises:
        FieldError: it is damaged.
    """
    if not isinstance(row, dict):
        raise FieldError("it is not an object")
    kind = KINDS.get(str(row.get("kind")))
    return replace(read_object(kind, row), added=True) if kind is not None else None

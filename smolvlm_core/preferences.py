"""How a user likes to ask: the model, the precision and the settings of answers, kept over restarts, and named presets of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import Remembered
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.text import valid_text

FILE = "preferences.json"
MAX_PRESETS = 50
MAX_NAME_CHARACTERS = 40
_LAST, _PRESETS = "last", "presets"


@dataclass(frozen=True, kw_only=True)
class Preference:
    """`model`: the key of an entry of the registry; "" where none was chosen."""

    model: str = ""
    precision: str = "bfloat16"
    settings: GenerationSettings = field(default_factory=GenerationSettings)


class Preferences:
    """Those of one data folder. Used from any thread. Of two tabs, the one that changed something last is kept."""

    def __init__(self, folder: Path) -> None:
        self._rows = Remembered(lambda: folder / FILE)
        self._changing_presets = threading.Lock()

    @property
    def problem(self) -> StoreError | None:
        """Why stored preferences could not be read."""
        return self._rows.problem

    def last(self) -> Preference:
        """The last one used, or the default."""
        return self._read(_LAST, self._rows.get(_LAST)) or Preference()

    def save_last(self, preference: Preference) -> None:
        """Raises StoreError where it cannot be written."""
        self._rows.store(_LAST, asdict(preference))

    def presets(self) -> dict[str, Preference]:
        """By name, in alphabetical order. Those that cannot be read are left out, and `problem` says so."""
        found = {valid_text(name): self._read(name, row) for name, row in self._stored().items()}
        return {name: found[name] for name in sorted(found, key=str.casefold) if found[name] is not None}  # type: ignore[misc]

    def save_preset(self, name: str, preference: Preference) -> str:
        """Add or replace a preset. Returns its name, without spaces around it.

        Raises:
            LensError: the name is empty or too long, there are MAX_PRESETS already, or the file cannot be written.
        """
        name = " ".join(valid_text(name).split())
        if not name:
            raise LensError("A preset needs a name.", "Type one.")
        if len(name) > MAX_NAME_CHARACTERS:
            raise LensError(
                f"This name has {len(name)} characters; {MAX_NAME_CHARACTERS} are allowed.", "Choose a shorter one."
            )
        with self._changing_presets:
            presets = self.presets()
            if name not in presets and len(presets) >= MAX_PRESETS:
                raise LensError(f"There are {MAX_PRESETS} presets, which is the most.", "Delete one first.")
            self._rows.store(_PRESETS, {**self._stored(), name: asdict(preference)})
        return name

    def delete_preset(self, name: str) -> None:
        """Raises StoreError where the file cannot be written."""
        with self._changing_presets:
            kept = {other: row for other, row in self._stored().items() if valid_text(other) != name}
            self._rows.store(_PRESETS, kept)

    def _stored(self) -> Mapping[str, Any]:
        """As they are in the file: those that cannot be read stay in it."""
        rows = self._rows.get(_PRESETS)
        return rows if isinstance(rows, Mapping) else {}

    def _read(self, name: str, row: Any) -> Preference | None:
        if row is None:
            return None
        try:
            return read_object(Preference, row)
        except FieldError as error:
            self._rows.skip(name, error)
            return None

"""The backends that a comparison can be made of, in each precision they offer."""

from __future__ import annotations

from dataclasses import dataclass

from smolvlm_core.backends.base import Backend, Entry
from ui.backends import badges
from ui.state import workspace


@dataclass(frozen=True)
class BackendChoice:
    entry: Entry
    precision: str = ""

    def make(self) -> Backend:
        """Raises LensError where it cannot be made."""
        return self.entry.make(workspace().pool, self.precision)


def choices() -> dict[str, BackendChoice]:
    """By the label that is shown. Two with the same label are told apart by their key."""
    out: dict[str, BackendChoice] = {}
    for entry in workspace().registry.entries():
        if not entry.is_on_this_machine:
            continue
        for precision in entry.precisions or ("",):
            label = entry.label_of(precision)
            out[label if label not in out else f"{label} ({entry.key})"] = BackendChoice(entry, precision)
    badges.draw_problem()
    return out

"""Which rows of a table are selected, by id: their places change while the batch runs. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Selection:
    """`ticked`: ids of rows whose box is ticked. `shown`: id of the row whose details are on the page: the one that was clicked
    or ticked last.
    """

    ticked: tuple[str, ...] = ()
    shown: str | None = None
    clicked: str | None = None
    _drawn: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """What *Ask again* is about."""
        return self.ticked or ((self.shown,) if self.shown is not None else ())

    def key(self, view: str, ids: Sequence[str]) -> str:
        """The key of the table of a view. Another one, once rows have moved: the browser remembers places, not rows."""
        number, before = self._drawn.get(view, (0, ()))
        if tuple(ids[: len(before)]) != before:
            number += 1
        self._drawn[view] = number, tuple(ids)
        return f"{view}_{number}"

    def places(self, ids: Sequence[str]) -> Any:
        """The selection that a new table begins with."""
        cells = [(ids.index(self.clicked), "Name")] if self.clicked in ids else []
        return {"selection": {"rows": [n for n, one in enumerate(ids) if one in self.ticked], "cells": cells}}

    def take(self, rows: Sequence[int], cells: Sequence[tuple[int, str]], ids: Sequence[str]) -> None:
        """From the places that the table reports."""
        ticked = tuple(ids[place] for place in rows if place < len(ids))
        clicked = next((ids[place] for place, _ in cells if place < len(ids)), None)
        added = [one for one in ticked if one not in self.ticked]
        if added:
            self.shown = added[-1]
        elif clicked is not None and clicked != self.clicked:
            self.shown = clicked
        elif self.shown not in (*ticked, clicked):
            self.shown = ticked[-1] if ticked else clicked
        self.ticked, self.clicked = ticked, clicked

    def clear(self) -> None:
        self.ticked, self.shown, self.clicked = (), None, None
        self._drawn = {view: (number + 1, ()) for view, (number, _) in self._drawn.items()}

"""Stop sequences: text that ends an answer and is not part of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Passes an answer on, piece by piece, up to the first stop sequence.

    A piece that may be the beginning of one waits until it is known: `add` returns what is certain, `rest` what waited.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = tuple(s for s in sequences if s)
        self._waiting = ""
        self.found = False

    def add(self, text: str) -> str:
        if self.found:
            return ""
        text, self._waiting = self._waiting + text, ""
        found = [(at + len(s), at) for s in self._sequences if (at := text.find(s)) >= 0]
        if found:  # the one that ends first, so that it does not matter in which pieces the text comes
            self.found = True
            return text[: min(found)[1]]
        keep = max((_begun(text, s) for s in self._sequences), default=0)
        self._waiting = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """At the end of the answer: what was waiting for more."""
        text, self._waiting = self._waiting, ""
        return "" if self.found else text


def _begun(text: str, sequence: str) -> int:
    """Length of the longest end of `text` that begins `sequence`."""
    return next((n for n in range(min(len(sequence) - 1, len(text)), 0, -1) if text.endswith(sequence[:n])), 0)

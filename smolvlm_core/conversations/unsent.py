"""What waits to be sent: questions that could not be stored, and the media of questions that are not asked yet.

Knows messages. Does not know pages or the store.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Protocol

from smolvlm_core.prompt.messages import Attachment


@dataclass(frozen=True, kw_only=True)
class UnsentQuestion:
    """A question that could not be stored, and why. `conversation` is None where it would begin one."""

    kind: str
    conversation: str | None
    text: str
    attachments: tuple[Attachment, ...]
    why: str


class Holder(Protocol):
    """Someone who holds media that no message uses yet, for example one browser tab."""

    def unsent_media(self) -> frozenset[str]:
        """Their SHA-256."""


class UnsentMedia:
    """The media that wait anywhere in this process. A holder that ends is forgotten. Used from any thread."""

    def __init__(self) -> None:
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self._lock = threading.Lock()

    def add(self, holder: Holder) -> None:
        with self._lock:
            self._holders.add(holder)

    def all(self) -> set[str]:
        with self._lock:
            holders = tuple(self._holders)
        return set().union(*(holder.unsent_media() for holder in holders))

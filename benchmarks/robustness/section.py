"""What a kind of input has to offer to be tried by the thousand."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar


class Section(ABC):
    """Cases are made in this process and tried in a child process, which is replaced when it dies or hangs.

    Attributes:
        name: as on the command line.
        full_count: how many cases a full run tries.
        max_seconds: a case that takes longer is a hang.
        max_bytes: a case may not raise the child's memory by more.
    """

    name: ClassVar[str]
    full_count: ClassVar[int]
    max_seconds: ClassVar[float] = 30.0
    max_bytes: ClassVar[int] = 3 * 2**30

    @abstractmethod
    def case(self, number: int, dice: random.Random) -> Any:
        """Case `number`, which pickle can carry. The same number and dice make the same case."""

    def start(self, folder: Path) -> None:  # noqa: B027 (optional)
        """Called once in the child, before the first case: import, start a server. `folder` is empty and private."""

    @abstractmethod
    def attempt(self, case: Any, folder: Path) -> str:
        """Called in the child. Returns what became of the case in one word, such as "used".

        A LensError counts as "refused". Any other exception is a crash. `folder`: for files of this case; removed afterwards.
        """

    def stop(self) -> None:  # noqa: B027 (optional)
        """Called in the child, after the last case."""


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A copy of a file with one to eight changes: bytes flipped, set to extremes, cut out, doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        if not changed:
            break
        at = dice.randrange(len(changed))
        length = min(dice.choice((1, 1, 2, 4, 8, 64, 512)), len(changed) - at)
        match dice.randrange(6):
            case 0:
                changed[at] ^= 1 << dice.randrange(8)
            case 1:
                changed[at : at + length] = dice.randbytes(length)
            case 2:
                changed[at : at + length] = bytes([dice.choice((0x00, 0x7F, 0x80, 0xFF))]) * length
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case 5 if dice.random() < 0.3:
                del changed[at:]
    return bytes(changed)

"""What was looked at in a deployment's files, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """`fix`: what to do, "" for what is right. `line`: from 1, None where a whole file is meant."""

    level: Level
    what: str
    fix: str = ""
    line: int | None = None

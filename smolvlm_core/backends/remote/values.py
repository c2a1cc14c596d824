"""Fields of a server's JSON. A server may send any type and any size: what is of no use counts as absent."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from smolvlm_core.text import valid_text

MOST_DEPTH = 64
# A string, closed or not, or a bracket. Possessive, so that the time grows with the length only.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+\\?(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
MOST = 2**53  # what every number format, SQLite's included, can carry


def table(value: Any) -> dict[str, Any]:
    """An object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Any]:
    """A list; empty for anything else."""
    return value if isinstance(value, list) else []


def words(value: Any) -> str:
    """Valid text; "" for anything else."""
    return valid_text(value) if isinstance(value, str) else ""


def whole(value: Any) -> int:
    """A count; 0 for anything else."""
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return int(value) if usable else 0


def number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return float(value) if abs(value) <= MOST else None
    return value if math.isfinite(value) else None


def parse_json(data: str | bytes) -> Any:
    """Raises ValueError for what is not JSON, or is nested more than `MOST_DEPTH` deep."""
    coded = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if too_deep(coded):
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
    return json.loads(data)


def too_deep(data: bytes) -> bool:
    """Whether JSON is nested deeper than `MOST_DEPTH`, without parsing it: Python's parser recurses."""
    if data.count(b"[") + data.count(b"{") <= MOST_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(data):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth > MOST_DEPTH:
                return True
        elif token[0] in (b"]", b"}"):
            depth -= 1
    return False

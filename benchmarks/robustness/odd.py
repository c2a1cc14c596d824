"""Values that a field of JSON should not have, and how they get into it."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

ODD = (
    None,
    True,
    -1,
    3,
    0.5,
    10**30,
    -(10**400),
    1e400,
    math.nan,
    "",
    "a\ud800",
    "é" * 9,
    "\0",
    "1" * 5000,
    [],
    [[]],
    [None, 1, "a"],
    {},
    {"a": {"b": [1]}},
)


def spoil(value: Any, dice: random.Random) -> None:
    """One field somewhere in `value` gets an odd value."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = dice.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and dice.random() < 0.7:
        spoil(value[key], dice)
    else:
        value[key] = copy.deepcopy(dice.choice(ODD))  # it may be spoiled next


def nested(depth: int, dice: random.Random) -> Any:
    """A value that many levels deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if dice.random() < 0.5 else {"a": value}
    return value

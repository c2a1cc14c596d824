"""How long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

# What happens, in words, and the share that is done: 0 to 1, None where it is unknown.
Report = Callable[[str, float | None], None]

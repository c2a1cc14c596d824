"""What turns items into records: this machine, or a cluster. What all engines have in common. Does not know any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import Progress
from smolvlm_core.prompt.messages import Message

# Takes items and yields finished records in any order, one for each item unless the event is set.
Engine = Callable[[Iterable[Item], threading.Event], Iterator[Record]]


def load(
    backend: Backend,
    plan: Plan,
    cancel: threading.Event,
    loading: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Load the plan's model before the first item is taken. Raises LensError."""
    hello = build_prompt([Message("user", "Hello")], _no_pictures, plan.settings.system_prompt)
    collect(backend.prepare(hello, plan.settings, cancel), loading)


def _no_pictures(sha256: str) -> NoReturn:
    raise KeyError(sha256)

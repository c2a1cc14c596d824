"""The engine of this machine: prepares items while the backend answers others, and asks several at once.

Knows the plan and a backend. Does not know results, progress or who asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.ready import load
from smolvlm_core.batch.answer import Prepared, ask, prepare
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record
from smolvlm_core.errors import LensError
from smolvlm_core.media import decoded_bytes
from smolvlm_core.prompt.generation import Progress
from smolvlm_core.work.gate import Gate
from smolvlm_core.work.pipeline import Pipeline

PARALLEL = 8


class LocalEngine:
    """See `Pipeline` for what is in memory.

    Args:
        parallel: how many items the backend is asked about at once. Those that answer one after another queue them.
        gate: while it is closed, no further item is asked.
        loading: gets what happens while the model is loaded, before the first item is taken.
    """

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        *,
        parallel: int = PARALLEL,
        gate: Gate | None = None,
        loading: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.plan, self.backend, self.parallel = plan, backend, parallel
        self.gate, self._loading = gate or Gate(), loading
        self._pipeline: Pipeline[Item, Prepared, Record] = Pipeline(
            prepare=lambda item, cancel: prepare(item, plan, backend, cancel),
            ask=lambda prepared, cancel: ask(prepared, plan, backend, cancel),
            gave_up=_gave_up,
            size_of=_decoded_bytes,
            parallel=parallel,
            gate=self.gate,
        )

    def __call__(self, items: Iterable[Item], cancel: threading.Event) -> Iterator[Record]:
        """Raises LensError where the model cannot be loaded, and what a bug raises, after the records that are finished."""
        try:
            load(self.backend, self.plan.settings, cancel, self._loading)
        except LensError:
            if cancel.is_set():
                return
            raise
        yield from self._pipeline.run(items, cancel)


def _gave_up(prepared: Prepared) -> Record:
    return replace(prepared.record, error="The answer ended before it was complete.", finished=time.time())


def _decoded_bytes(prepared: Prepared) -> int:
    return sum(decoded_bytes(slot.open()) for slot in prepared.prompt.slots) if prepared.prompt is not None else 0

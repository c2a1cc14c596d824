"""What turns items into records: this machine, or a cluster. Does not know any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from smolvlm_core.batch.plan import Item
from smolvlm_core.batch.records import Record

# Takes items and yields finished records in any order, one for each item unless the event is set.
Engine = Callable[[Iterable[Item], threading.Event], Iterator[Record]]

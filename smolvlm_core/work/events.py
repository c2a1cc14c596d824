"""An event of one's own that is set when another event is.

A backend may set the event it was given, for instance when it fails. Who gives it the event of a
whole job cannot tell a failure from a stop by the user; a child event keeps the two apart.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

#: How often, in seconds, a watching thread looks whether its block has ended.
POLL_SECONDS = 0.1


@contextlib.contextmanager
def child(parent: threading.Event) -> Iterator[threading.Event]:
    """An event that is set when ``parent`` is; setting it leaves ``parent`` as it was.

    A thread watches the parent and ends within :data:`POLL_SECONDS` after the block.
    """
    own = threading.Event()
    if parent.is_set():
        own.set()
        yield own
        return
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if parent.wait(POLL_SECONDS):
                own.set()
                return

    watcher = threading.Thread(target=watch, name="child-event", daemon=True)
    watcher.start()
    try:
        yield own
    finally:
        done.set()

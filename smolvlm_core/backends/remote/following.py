"""Reads from a server on a thread of its own, so that whoever waits can stop at any moment and notices silence.

Knows waiting. Does not know HTTP beyond the socket it closes.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from smolvlm_core.backends.remote.faults import ServerFault, ServerGone
from smolvlm_core.backends.remote.timeouts import Timeouts

LOOK_SECONDS = 0.1  # how soon a cancel and silence are noticed
AHEAD = 8  # how many items are read before they are taken
_LONGER = "Give it more time: add it again with longer timeouts."
T = TypeVar("T")


class Cancelled(Exception):
    """The caller's event was set."""


class Connection:
    """Keeps the socket, to close it from another thread while a read waits on it."""

    def __init__(self) -> None:
        self.is_open = False
        self._socket: socket.socket | None = None
        self._closed = False

    def noticed(self, event: str, info: dict[str, Any]) -> None:
        """httpx's extension "trace"."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            self.is_open = True
            if self._closed:
                self.close()

    def close(self) -> None:
        self._closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _End:
    """Nothing more comes. `error`: why, where something went wrong."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Reader(Generic[T]):
    def __init__(self, read: Callable[[], Iterator[T]]) -> None:
        self._read = read
        self.items: queue.Queue[T | _End] = queue.Queue(AHEAD)
        self.left = threading.Event()  # nobody takes items any more

    def run(self) -> None:
        """On a thread of its own."""
        end = _End()
        try:
            for item in self._read():
                if not self._put(item):
                    return
        except BaseException as error:
            end = _End(error)
        self._put(end)

    def _put(self, item: T | _End) -> bool:
        while not self.left.is_set():
            with contextlib.suppress(queue.Full):
                self.items.put(item, timeout=LOOK_SECONDS)
                return True
        return False


def followed(
    read: Callable[[], Iterator[T]],
    server: str,
    timeouts: Timeouts,
    connection: Connection,
    cancel: threading.Event | None = None,
) -> Iterator[T]:
    """What `read` yields, read on another thread. The connection is closed when this ends, however it ends.

    Raises:
        Cancelled: `cancel` was set, whatever the server does or sends meanwhile.
        ServerFault: there is no connection, or no beginning of an answer, in time.
        ServerGone: the server fell silent in the middle.
        Exception: what `read` raises.
    """
    reader = _Reader(read)
    threading.Thread(target=reader.run, name="read-server", daemon=True).start()
    began, anything = time.monotonic(), False
    was_open = False
    try:
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled
            try:
                item = reader.items.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if connection.is_open and not was_open:
                    was_open, began = True, time.monotonic()
                _check_time(time.monotonic() - began, server, timeouts, was_open, anything)
                continue
            if cancel is not None and cancel.is_set():
                raise Cancelled
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            began, anything = time.monotonic(), True
            yield item
            began = time.monotonic()  # what the taker does with it is not the server's silence
    finally:
        reader.left.set()
        connection.close()


def _check_time(waited: float, server: str, timeouts: Timeouts, is_open: bool, anything: bool) -> None:
    if not is_open and waited > timeouts.connect_seconds:
        raise ServerFault(
            f"Nothing answers at {server}: no connection within {timeouts.connect_seconds:g} s.",
            "Start the server, or correct the address.",
        )
    if is_open and not anything and waited > timeouts.first_byte_seconds:
        raise ServerFault(f"{server} did not begin to answer within {timeouts.first_byte_seconds:g} s.", _LONGER)
    if anything and waited > timeouts.silence_seconds:
        raise ServerGone(
            f"{server} was silent for {timeouts.silence_seconds:g} s.", f"The text so far is saved. {_LONGER}"
        )

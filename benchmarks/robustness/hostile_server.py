"""A server that sends what it is told to, byte by byte: pauses, cuts, garbage, floods. Plain sockets: it obeys no protocol."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MOST_SECONDS = 20.0  # of one answer


@dataclass(frozen=True)
class Send:
    """Send `data` `times` times, each after a pause."""

    data: bytes
    times: int = 1
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class Wait:
    """Say nothing."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """Break the connection instead of closing it."""


Script = Sequence[Send | Wait | Reset]


def http(
    body: bytes | Script = b"", status: int = 200, *headers: tuple[str, str], mime: str = "text/event-stream"
) -> list[Send | Wait | Reset]:
    """A script with a proper head. The body ends where the connection does."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {mime}", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace")
    return [Send(head), *([Send(body)] if isinstance(body, bytes) else body)]


@dataclass
class HostileServer:
    """`scripts`: what is sent, by path; "" for any other path. `asked`: the paths that were requested."""

    scripts: dict[str, Script] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(MOST_SECONDS)
            path = _path_of_request(connection)
            self.asked.append(path)
            ends = time.monotonic() + MOST_SECONDS
            for step in self.scripts.get(path, self.scripts.get("", ())):
                for _ in _steps(connection, step):
                    if time.monotonic() > ends:
                        return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _steps(connection: socket.socket, step: Send | Wait | Reset) -> Iterator[None]:
    match step:
        case Send(data, times, pause):
            for _ in range(times):
                time.sleep(pause)
                connection.sendall(data)
                yield
        case Wait(seconds):
            connection.settimeout(seconds)
            with contextlib.suppress(TimeoutError):
                while connection.recv(4096):  # until the other side hangs up
                    yield
            connection.settimeout(MOST_SECONDS)
        case Reset():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _path_of_request(connection: socket.socket) -> str:
    """Reads the whole request."""
    read = bytearray()
    while b"\r\n\r\n" not in read and (chunk := connection.recv(65536)):
        read += chunk
    head, _, body = bytes(read).partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length:")), 0
    )
    got = len(body)
    while got < length and (chunk := connection.recv(65536)):
        got += len(chunk)
    return head.split(b" ")[1].decode() if head.count(b" ") > 1 else ""

"""Runs the API until it is interrupted. Knows sockets and uvicorn; not routes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from smolvlm_core.errors import BackendError

SHUTDOWN_SECONDS = 3  # for answers that run


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Port 0: any free one. Raises BackendError where the address is in use or not of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # otherwise another server could bind it, too
    except (OSError, OverflowError, UnicodeError) as error:
        raise BackendError(f"{host}:{port} cannot be used: {error}.", "Choose another --port or --host.") from error
    return listening


def run(app: FastAPI, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. `ready` is called once requests are answered."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                ready()

    config = uvicorn.Config(
        app,
        log_level="warning",
        use_colors=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
        lifespan="on",
    )
    Server(config).run(sockets=[listening])

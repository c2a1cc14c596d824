"""A request whose answer streams (server-sent events of JSON), and which can be stopped at any moment.

Knows HTTP. Does not know what is asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from smolvlm_core.backends.remote.bounded import bounded_client
from smolvlm_core.backends.remote.faults import ServerFault, ServerGone, error_in, refused, without_number
from smolvlm_core.backends.remote.following import Cancelled, Connection, followed
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import parse_json


def post_stream(
    url: str,
    body: dict[str, Any],
    cancel: threading.Event,
    headers: dict[str, str] | None = None,
    timeouts: Timeouts | None = None,
) -> Iterator[dict[str, Any]]:
    """The events of the answer, as they arrive. See `bounded` for how much may come.

    Raises:
        Cancelled: `cancel` was set. The connection is closed, which is how the server learns of it.
        ServerFault: nothing answers there, or the server cannot answer now, or it answers too much.
        BackendError: it refused the question.
        ServerGone: the connection broke in the middle of the answer, or the server fell silent.
    """
    connection, waits = Connection(), timeouts or Timeouts()

    def lines() -> Iterator[bytes]:
        content, sent = json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
        with (
            bounded_client(url, waits, streams=True) as client,
            client.stream(
                "POST", url, content=content, headers=sent, extensions={"trace": connection.noticed}
            ) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                raise refused(url, answer)
            for some in answer.iter_raw():
                yield from some.splitlines()

    try:
        for line in followed(lines, url, waits, connection, cancel):
            yield from _events(line)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
        raise ServerFault(
            f"Nothing answers at {url}: {without_number(error)}.", "Start the server, or correct the address."
        ) from error
    except ValueError as error:
        raise ServerFault(f"{url} did not answer with events of JSON: {error}.", "Check the address.") from error
    except (httpx.HTTPError, OSError) as error:
        if cancel.is_set():
            raise Cancelled from None
        raise ServerGone(
            f"{url} stopped answering ({type(error).__name__}).", "The text so far is saved. Ask again."
        ) from error


def _events(line: bytes) -> Iterator[dict[str, Any]]:
    kind, _, data = line.decode().partition(":")
    data = data.strip()
    if kind == "error" or (kind == "data" and data.startswith('{"error"')):
        raise error_in(data)
    if kind == "data" and data and data != "[DONE]":
        event = parse_json(data)
        if not isinstance(event, dict):
            raise ValueError(f"an event is {data[:40]!r}")
        yield event

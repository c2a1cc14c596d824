"""What all remote backends share: addresses, keys, small requests. Does not know what is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from smolvlm_core.backends.base import THIS_MACHINE
from smolvlm_core.backends.remote.bounded import bounded_client
from smolvlm_core.backends.remote.faults import ServerFault, refused, without_number
from smolvlm_core.backends.remote.following import Connection, followed
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import parse_json
from smolvlm_core.errors import BackendError, LensError, NoVision
from smolvlm_core.text import with_valid_texts


def device_of(url: str) -> str:
    """Where a server computes: this machine, or a host by name."""
    host = urlsplit(url).hostname or "localhost"
    return THIS_MACHINE if host in ("localhost", "127.0.0.1", "::1") else host


def normal_url(url: str) -> str:
    """An address with a scheme, without a slash or an endpoint at the end. /v1 is added to a bare address.

    Raises:
        BackendError: nothing, or not an http address.
    """
    if not url.strip():
        raise BackendError("There is no address of a server.", "Enter one like http://127.0.0.1:8080/v1.")
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    whole = whole.rstrip("/").removesuffix("/chat/completions").removesuffix("/models")
    try:
        parsed = httpx.URL(whole)
    except httpx.InvalidURL as error:
        raise BackendError(
            f"{url!r} is not the address of a server: {error}.", "Write it like http://127.0.0.1:8080/v1."
        ) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BackendError(f"{url!r} is not the address of a server.", "Write it like http://127.0.0.1:8080/v1.")
    return f"{whole}/v1" if parsed.path in ("", "/") else whole


def authorization(api_key: str) -> dict[str, str]:
    """The header of an API key. Raises BackendError for one that cannot be sent."""
    if not api_key.isascii() or not api_key.isprintable():
        raise BackendError("The API key contains characters that cannot be sent.", "Copy it again.")
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def no_vision(name: str) -> LensError:
    return NoVision(
        f"{name} takes no pictures: the server reports no vision.",
        "With llama.cpp, start it with the projector (--mmproj FILE). Elsewhere, load a vision model.",
    )


def get_json(
    url: str, headers: dict[str, str], timeouts: Timeouts | None = None, cancel: threading.Event | None = None
) -> dict[str, Any]:
    """Raises Cancelled; ServerFault where nothing answers, or something else than JSON; BackendError for a refusal."""
    answer = whole_answer("GET", url, headers, timeouts=timeouts, cancel=cancel)
    if answer.status_code != 200:
        raise refused(url, answer)
    if (said := json_of(answer)) is None:
        raise ServerFault(f"{url} did not answer with JSON.", "Check the address: it often ends in /v1.")
    return said


def json_of(answer: httpx.Response) -> dict[str, Any] | None:
    """The object in an answer, its texts valid; None where there is none."""
    try:
        said = parse_json(answer.content)
    except ValueError:
        return None
    return with_valid_texts(said) if isinstance(said, dict) else None


def whole_answer(
    method: str,
    url: str,
    headers: dict[str, str],
    body: dict[str, Any] | None = None,
    *,
    timeouts: Timeouts | None = None,
    cancel: threading.Event | None = None,
) -> httpx.Response:
    """A small request. All of its answer must come within `Timeouts.of_probes`.

    Raises:
        Cancelled: `cancel` was set.
        ServerFault: nothing answers, or not in time, or too much, or a redirect.
    """
    connection, waits = Connection(), (timeouts or Timeouts()).of_probes
    content = json.dumps(body).encode() if body is not None else None
    sent = {**headers, **({"Content-Type": "application/json"} if body is not None else {})}

    def read() -> Iterator[httpx.Response]:
        with bounded_client(url, waits, streams=False) as client:
            yield client.request(method, url, content=content, headers=sent, extensions={"trace": connection.noticed})

    try:
        (answer,) = followed(read, url, waits, connection, cancel)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ServerFault(
            f"Nothing answers at {url}: {without_number(error)}.", "Start the server, or correct the address."
        ) from error
    return answer

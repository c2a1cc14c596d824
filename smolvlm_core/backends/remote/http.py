"""What all remote backends share: addresses, keys, small requests. Does not know what is asked."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from smolvlm_core.backends.base import THIS_MACHINE
from smolvlm_core.backends.remote.stream import ServerFault, refused
from smolvlm_core.errors import BackendError, LensError, NoVision
from smolvlm_core.web import certificates

PROBE_SECONDS = 5


def device_of(url: str) -> str:
    """Where a server computes: this machine, or a host by name."""
    host = urlsplit(url).hostname or "localhost"
    return THIS_MACHINE if host in ("localhost", "127.0.0.1", "::1") else host


def normal_url(url: str) -> str:
    """An address with a scheme, without a slash or an endpoint at the end. /v1 is added to a bare address.

    Raises:
        BackendError: not an http address.
    """
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


def get_json(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Raises ServerFault where nothing answers, or something else than JSON; BackendError where the server refuses."""
    try:
        answer = httpx.get(url, headers=headers, timeout=PROBE_SECONDS, trust_env=False, verify=certificates())
    except httpx.TransportError as error:
        raise ServerFault(f"Nothing answers at {url}: {error}.", "Start the server, or correct the address.") from error
    if answer.status_code != 200:
        raise refused(url, answer)
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ServerFault(f"{url} did not answer with JSON.", "Check the address: it often ends in /v1.")
    return said

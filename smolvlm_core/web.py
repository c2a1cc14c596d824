"""What all that speaks HTTP shares: trusted certificates, and whether a request comes from where it may. Does not know servers.

A page of another website can send requests to a server on this machine. Its Origin gives it away; after DNS rebinding, its Host does.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from functools import cache
from urllib.parse import urlsplit

import httpx


@cache
def certificates() -> ssl.SSLContext:
    """Trusted certificates. Read once: otherwise httpx reads them for each request (25 ms), even over http."""
    return httpx.create_ssl_context(trust_env=False)


def is_allowed_host(host: str, patterns: Collection[str]) -> bool:
    """`host`: the header. `*` in `patterns` is any host, `*.example.com` any subdomain (as Streamlit matches them)."""
    name = _hostname(host)
    return any(
        pattern == "*" or name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in patterns
    )


def is_same_origin(origin: str | None, host: str, trusted: Collection[str] = ()) -> bool:
    """Whether a browser's page of this server, or no browser's page at all, sent it. `trusted`: other origins, in lower case."""
    if origin is None or origin.lower() in trusted:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def content_length(text: str) -> int | None:
    """The value of a Content-Length header; None for what is no number, which is for the server to refuse."""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) <= 20 else 10**20  # Python refuses to read a number of thousands of digits


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""

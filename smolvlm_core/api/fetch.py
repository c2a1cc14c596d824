"""Pictures and clips by web address: off, or from listed hosts only. Knows HTTP; not what it fetches.

A server that fetches any address can be made to reach what only it can reach (server-side request forgery). So a host must be
listed, its name is resolved once and the connection goes to that address, which must be public, and redirects are refused.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Collection
from urllib.parse import SplitResult, urlsplit

import httpx

from smolvlm_core.api.errors import invalid
from smolvlm_core.web import certificates

CONNECT_SECONDS = 10
TOTAL_SECONDS = 60
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """IP addresses of a host. Raises OSError."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def is_public(address: str) -> bool:
    """Whether an IP address is on the internet: neither private, loopback, link-local nor reserved."""
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):  # addresses with an IPv4 address inside lead elsewhere
        return found in GLOBAL_UNICAST and found.is_global and found.sixtofour is None and found.teredo is None
    return found.is_global and not found.is_multicast


class Fetcher:
    """`hosts`: names that may be fetched from, in lower case."""

    def __init__(
        self,
        hosts: Collection[str],
        max_bytes: int,
        *,
        resolve: Resolve = resolve,
        is_allowed: Callable[[str], bool] = is_public,
    ) -> None:
        self._hosts, self._max_bytes = frozenset(host.lower() for host in hosts), max_bytes
        self._resolve, self._is_allowed = resolve, is_allowed

    def fetch(self, url: str, cancel: threading.Event) -> bytes:
        """Raises ApiError."""
        parts = self._checked(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        headers = {"Host": parts.netloc, "Accept-Encoding": "identity"}
        try:
            target = httpx.URL(url).copy_with(host=self._address(host, port), port=port)
            with httpx.Client(timeout=CONNECT_SECONDS, trust_env=False, verify=certificates()) as client:
                request = client.build_request("GET", target, headers=headers, extensions={"sni_hostname": host})
                return self._read(client, request, url, cancel)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise invalid(f"{url} cannot be fetched: {error}.", "Send the file as a data URI instead.") from error

    def _checked(self, url: str) -> SplitResult:
        if not self._hosts:
            raise invalid(
                "This server does not fetch web addresses.",
                "Send the file as a data URI, or start the server with --allow-urls HOST.",
            )
        try:
            parts = urlsplit(url)
            host, _ = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise invalid(f"{url!r} is not an address: {error}.") from error
        if parts.scheme not in ("http", "https") or host not in self._hosts or parts.username or parts.password:
            known = ", ".join(sorted(self._hosts))
            raise invalid(f"This server fetches from {known} only, without a user name.", "Send a data URI instead.")
        return parts

    def _address(self, host: str, port: int) -> str:
        """The address to connect to: resolved here, so that it cannot change between the check and the connection."""
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise invalid(f"{host} is not known: {error}.") from error
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise invalid(f"{host} is in a private network.", "Send the file as a data URI instead.")
        return addresses[0]

    def _read(self, client: httpx.Client, request: httpx.Request, url: str, cancel: threading.Event) -> bytes:
        ends = time.monotonic() + TOTAL_SECONDS
        answer = client.send(request, stream=True, follow_redirects=False)
        try:
            if answer.status_code != 200:
                raise invalid(f"{url} answered {answer.status_code}.", "Redirects are not followed.")
            if (packed := answer.headers.get("content-encoding", "identity")) != "identity":
                raise invalid(
                    f"{url} is compressed ({packed[:20]!r}), which was not asked for.", "Send a data URI instead."
                )
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if cancel.is_set():
                    raise invalid("The request was cancelled.")
                if len(data) > self._max_bytes:
                    raise invalid(f"{url} has more than {self._max_bytes // 2**20} MB.", "Send a smaller file.")
                if time.monotonic() > ends:
                    raise invalid(f"{url} took more than {TOTAL_SECONDS} s.", "Send the file as a data URI instead.")
            return bytes(data)
        finally:
            answer.close()

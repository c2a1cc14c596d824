"""How the API is served. Plain data."""

from __future__ import annotations

from dataclasses import dataclass

from smolvlm_core.access.users import Users

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """Limits and access.

    Attributes:
        api_key: of the server: every request but /health must carry it, or the key of a user, as a bearer token; "" for none.
        users: whose keys are accepted, and their limits; None for none.
        is_shared: other machines reach the server: a request needs a key even where the server has none of its own.
        allowed_hosts: values of the Host header that are answered; `*.example.com` is any subdomain.
        url_hosts: web hosts that pictures and clips may be fetched from; empty for none.
        max_body_bytes: of a chat request, base64 included.
        max_upload_bytes: of an uploaded file, and of all uploaded files together.
        max_requests: that run and wait at once. One more is refused with 429.
        timeout_seconds: of one answer, waiting and loading included.
    """

    api_key: str = ""
    users: Users | None = None
    is_shared: bool = False
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    url_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 64 * 2**20
    max_upload_bytes: int = 2**30
    max_requests: int = 32
    timeout_seconds: float = 600.0

    @property
    def needs_key(self) -> bool:
        return bool(self.api_key) or self.is_shared

    @property
    def max_form_bytes(self) -> int:
        """Of an upload, with the form around the file."""
        return self.max_upload_bytes + 2**20

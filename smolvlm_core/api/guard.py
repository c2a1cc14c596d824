"""Checks every request before a route sees it: Host, Origin, key and the size that it claims. ASGI middleware."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from smolvlm_core.api.errors import UPLOAD_ROUTE, ApiError, response_of, too_large
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.web import is_allowed_host, is_same_origin

OPEN_ROUTES = ("/health",)  # load balancers have no key


class Guard:
    def __init__(self, app: ASGIApp, options: ApiOptions) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refused := self._refusal(scope)) is not None:
            await response_of(refused)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers, host = Headers(scope=scope), Headers(scope=scope).get("host", "")
        if not is_allowed_host(host, self._options.allowed_hosts):
            hint = "Start the server with --allow-host NAME to add one."
            return ApiError(403, "host_not_allowed", f"This server does not answer to {host!r}.", hint)
        if not is_same_origin(headers.get("origin"), host):
            return ApiError(403, "origin_not_allowed", "This request comes from a page of another website.")
        if self._options.api_key and scope["path"] not in OPEN_ROUTES and not self._has_key(headers):
            hint = "Send it as 'Authorization: Bearer KEY'."
            return ApiError(401, "invalid_api_key", "The API key is missing or wrong.", hint)
        length = headers.get("content-length", "0")
        most = self._most_bytes(scope)
        return too_large(most) if _is_more(length, most) else None

    def _has_key(self, headers: Headers) -> bool:
        kind, _, key = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._options.api_key.encode())

    def _most_bytes(self, scope: Scope) -> int:
        options = self._options
        return options.max_form_bytes if scope["path"].rstrip("/") == UPLOAD_ROUTE else options.max_body_bytes


def _is_more(length: str, most: int) -> bool:
    """Whether a Content-Length is larger. What is no number is for the server to refuse."""
    if not (length.isascii() and length.isdigit()):
        return False
    return len(length) > 20 or int(length) > most  # Python refuses to read a number of thousands of digits

"""Checks every request before a route sees it: Host, Origin, key and size. ASGI middleware."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smolvlm_core.api.errors import ApiError, response_of
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.web import is_allowed_host, is_same_origin

OPEN_ROUTES = ("/health",)  # load balancers have no key
UPLOAD_ROUTE = "/v1/files"


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
        most = self._most_bytes(scope)
        read = 0

        async def receive_some() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:  # a body without a length: the route sees the error where it reads
                raise _too_large(most)
            return message

        await self._app(scope, receive_some, send)

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
        return _too_large(most) if length.isdigit() and int(length) > most else None

    def _has_key(self, headers: Headers) -> bool:
        kind, _, key = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._options.api_key.encode())

    def _most_bytes(self, scope: Scope) -> int:
        if scope["path"].rstrip("/") == UPLOAD_ROUTE:
            return self._options.max_upload_bytes + 2**20  # the form around the file
        return self._options.max_body_bytes


def _too_large(most: int) -> ApiError:
    hint = f"Upload clips to {UPLOAD_ROUTE} and send their file_id, or start the server with a larger --max-body-mb."
    return ApiError(413, "request_too_large", f"The request has more than {most // 2**20} MB.", hint)

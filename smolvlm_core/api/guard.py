"""Checks every request before a route sees it: Host, Origin, key and the size that it claims. ASGI middleware."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from smolvlm_core.api.errors import UPLOAD_ROUTE, ApiError, response_of, too_large
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.errors import LensError
from smolvlm_core.web import content_length, is_allowed_host, is_same_origin

OPEN_ROUTES = ("/health",)  # load balancers have no key


class Guard:
    def __init__(self, app: ASGIApp, options: ApiOptions) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        user = ""
        try:
            self._check_place(scope)
            if scope["path"] not in OPEN_ROUTES:
                user = self._user(Headers(scope=scope))
            self._check_size(scope)
        except LensError as refused:
            await response_of(refused)(scope, receive, send)
            return
        scope.setdefault("state", {})["user"] = user
        await self._app(scope, receive, send)

    def _check_place(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_allowed_host(host, self._options.allowed_hosts):
            hint = "Start the server with --allow-host NAME to add one."
            raise ApiError(403, "host_not_allowed", f"This server does not answer to {host!r}.", hint)
        if not is_same_origin(headers.get("origin"), host):
            raise ApiError(403, "origin_not_allowed", "This request comes from a page of another website.")

    def _user(self, headers: Headers) -> str:
        """Whose key a request carries; "" for the server's own key, or none where none is needed. Raises ApiError, StoreError."""
        options = self._options
        kind, _, key = headers.get("authorization", "").partition(" ")
        key = key.strip() if kind.lower() == "bearer" else ""
        if options.api_key and hmac.compare_digest(key.encode(), options.api_key.encode()):
            return ""
        if options.users is not None and (user := options.users.owner_of_key(key)) is not None:
            return user.name
        if options.needs_key:
            hint = "Send it as 'Authorization: Bearer KEY'."
            raise ApiError(401, "invalid_api_key", "The API key is missing or wrong.", hint)
        return ""

    def _check_size(self, scope: Scope) -> None:
        length = content_length(Headers(scope=scope).get("content-length", ""))
        if length is not None and length > (most := self._most_bytes(scope)):
            raise too_large(most)

    def _most_bytes(self, scope: Scope) -> int:
        options = self._options
        return options.max_form_bytes if scope["path"].rstrip("/") == UPLOAD_ROUTE else options.max_body_bytes


def user_of(request: Request) -> str:
    """The user whose key a request carried; "" for none."""
    return str(request.state.user)

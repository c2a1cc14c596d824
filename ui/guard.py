"""Checks every request before a page or route sees it: the Host and Origin headers.

Streamlit's own `server.allowedHosts` covers only its WebSocket; this covers every route.
"""

from __future__ import annotations

import streamlit as st
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from smolvlm_core.web import is_allowed_host, is_same_origin


class Guard:
    """ASGI middleware. Refuses foreign hosts and origins with 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if reason := refusal(headers.get("host", ""), headers.get("origin")):
            if scope["type"] == "websocket":
                await receive()  # the connect message: a WebSocket is closed with 403 before it is accepted
                await send({"type": "websocket.close", "code": 1008})
            else:
                await PlainTextResponse(reason, status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def refusal(host: str, origin: str | None) -> str:
    """Why a request is refused; "" where it is allowed."""
    allowed = {name.strip().lower() for name in st.get_option("server.allowedHosts")}
    if allowed and not is_allowed_host(host, allowed):
        return f"This app answers only to {', '.join(sorted(allowed))}. To add a name, set server.allowedHosts in .streamlit/config.toml."
    trusted = {address.rstrip("/").lower() for address in st.get_option("server.corsAllowedOrigins")}
    if not is_same_origin(origin, host, trusted):
        return "This request comes from another website."
    return ""

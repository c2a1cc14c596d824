"""Checks every request before a page or route sees it: the Host and Origin headers, and who sends it where the app is shared.

Streamlit's own `server.allowedHosts` covers only its WebSocket; this covers every route.
"""

from __future__ import annotations

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from smolvlm_core.access.users import User
from smolvlm_core.errors import StoreError
from smolvlm_core.web import is_allowed_host, is_same_origin
from ui.access import current, login, oidc, uploads

PROTOCOL = "sec-websocket-protocol"
HEALTH = "/_stcore/health"  # for load balancers
OPEN_ROUTES = (login.LOGIN, login.LOGOUT, *oidc.ROUTES)  # strangers may ask for them


class Guard:
    """ASGI middleware. Refuses foreign hosts and origins with 403, and sends strangers to the login page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        why_shared = current.why_request_is_shared(scope)
        refused, user = _refusal(scope, why_shared)
        if user is not None and uploads.is_upload(scope):
            refused = await run_in_threadpool(uploads.refusal, scope, user)
        if refused is not None:
            if scope["type"] == "websocket":
                await receive()  # the connect message: a WebSocket is closed with 403 before it is accepted
                await send({"type": "websocket.close", "code": 1008})
            else:
                await refused(scope, receive, send)
            return
        MutableHeaders(scope=scope)[current.SHARED] = "yes" if why_shared else "no"
        if scope["type"] == "websocket":
            _forget_session_of_another(scope)
        await self._app(scope, receive, send)


def _refusal(scope: Scope, why_shared: str) -> tuple[Response | None, User | None]:
    """(the answer to a request that is refused, None for one that is let through; its user where the app is shared)

    `why_shared`: "" for an app of this machine.
    """
    headers = Headers(scope=scope)
    if reason := _wrong_place(headers.get("host", ""), headers.get("origin")):
        return PlainTextResponse(reason, 403), None
    if not why_shared or scope["path"] == HEALTH:
        return None, None
    if problem := current.problem():
        return PlainTextResponse(f"This app is shared ({why_shared}), so it needs a login. {problem}", 403), None
    if scope["path"] in OPEN_ROUTES:
        return None, None
    try:
        if (user := current.user_of_request(scope)) is not None:
            return None, user
    except StoreError as error:
        return PlainTextResponse(str(error), 403), None
    if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return RedirectResponse(login.login_address(scope["path"]), 303), None
    return PlainTextResponse("Sign in first.", 401), None


def _forget_session_of_another(scope: Scope) -> None:
    """A browser can name the session that it had before, in the third protocol. Where that is another user's, it gets a new one."""
    protocols = [part.strip() for part in ",".join(Headers(scope=scope).getlist(PROTOCOL)).split(",")]
    if len(protocols) < 3:
        return
    try:
        user = current.user_of_route(scope)
    except StoreError:
        user = None  # the page says what is wrong
    if user is None or not current.is_session_of(protocols[2], user.name):
        MutableHeaders(scope=scope)[PROTOCOL] = ", ".join(protocols[:2])


def _wrong_place(host: str, origin: str | None) -> str:
    """Why a request comes from where it may not; "" where it may."""
    allowed = {name.strip().lower() for name in st.get_option("server.allowedHosts")}
    if allowed and not is_allowed_host(host, allowed):
        return f"This app answers only to {', '.join(sorted(allowed))}. To add a name, set server.allowedHosts in .streamlit/config.toml."
    trusted = {address.rstrip("/").lower() for address in st.get_option("server.corsAllowedOrigins")}
    if not is_same_origin(origin, host, trusted):
        return "This request comes from another website."
    return ""

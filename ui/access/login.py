"""The routes /login and /logout of a shared app. Plain HTML: no page of the app runs before the login."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from streamlit.errors import StreamlitAuthError

from smolvlm_core.access.logins import LIFETIME_SECONDS, TooManyAttempts, WrongPassword
from smolvlm_core.access.sharing import is_loopback
from smolvlm_core.errors import StoreError
from ui.access import oidc
from ui.access.current import COOKIE, logins, user_of_request, why_request_is_shared

logger = logging.getLogger("smolvlm_core.access")  # ui/access/start.py writes it to the terminal
HERE = Path(__file__).parent
LOGIN, LOGOUT = "/login", "/logout"
MOST_FORM_BYTES = 8192


def login_address(scope_path: str) -> str:
    """The login page, which leads back to a path afterwards."""
    return f"{LOGIN}?{urlencode({'next': scope_path})}" if scope_path != "/" else LOGIN


async def _login(request: Request) -> Response:
    if not why_request_is_shared(request.scope):
        return RedirectResponse("/", 303)
    if request.method == "POST":
        return await _sign_in(request)
    wanted = _safe(request.query_params.get("next", "/"))
    if (provider := request.query_params.get("provider")) is not None and provider in oidc.providers():
        try:
            return RedirectResponse(oidc.address_of(provider), 303)
        except StreamlitAuthError as error:
            return _page(request, str(error), wanted=wanted, status=500)
    return (
        RedirectResponse(wanted, 303) if user_of_request(request.scope) is not None else _page(request, wanted=wanted)
    )


async def _sign_in(request: Request) -> Response:
    fields = await _fields(request)
    if fields is None:
        return PlainTextResponse("The form is too large.", 413)
    wanted, name = _safe(fields.get("next", "/")), fields.get("name", "")
    address = request.client.host if request.client is not None else "unknown"
    try:
        token = await run_in_threadpool(logins().sign_in, name, fields.get("password", ""), address)
    except WrongPassword as error:
        return _page(request, str(error), wanted=wanted, name=name, status=401)
    except TooManyAttempts as error:
        page = _page(request, str(error), wanted=wanted, name=name, status=429)
        page.headers["Retry-After"] = str(round(error.seconds) + 1)
        return page
    response = RedirectResponse(wanted, 303)
    response.set_cookie(
        COOKIE, token, max_age=LIFETIME_SECONDS, httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )
    return response


async def _logout(request: Request) -> Response:
    """A link on a page of another website does not sign out: browsers say where a request comes from."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return PlainTextResponse("This request comes from another website.", 403)
    if token := request.cookies.get(COOKIE):
        await run_in_threadpool(logins().sign_out, token)
    if login := oidc.login_of(request.cookies):
        await run_in_threadpool(logins().end, login)
    response = RedirectResponse(oidc.ROUTES[1] if login else LOGIN, 303)
    response.delete_cookie(COOKIE)
    return response


def _in_words(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The file of users, or the key of the logins, cannot be read: say so."""

    async def route(request: Request) -> Response:
        try:
            return await answer(request)
        except StoreError as error:
            logger.error("%s", error)
            return PlainTextResponse(str(error), 503)

    return route


ROUTES = [
    Route(LOGIN, _in_words(_login), methods=["GET", "POST"]),
    Route(LOGOUT, _in_words(_logout), methods=["GET"]),
]


def _page(request: Request, problem: str = "", *, wanted: str = "/", name: str = "", status: int = 200) -> Response:
    body = _template().render(
        style=(HERE / "login.css").read_text("utf-8"),
        problem=problem,
        next=wanted,
        name=name[:100],
        is_encrypted=request.url.scheme == "https" or is_loopback(request.url.hostname or ""),
        has_passwords=logins().has_passwords,
        asks_for_name=logins().asks_for_name,
        providers=oidc.providers(),
        email=oidc.email_of(request.cookies) or "",
    )
    return HTMLResponse(body, status, {"Cache-Control": "no-store"})


@cache
def _template():  # type: ignore[no-untyped-def]
    return Environment(loader=FileSystemLoader(HERE), autoescape=True).get_template("login.html.j2")


async def _fields(request: Request) -> dict[str, str] | None:
    """The fields of the form; None for one that is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            return None
    found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
    return {name: values[0] for name, values in found.items()}


def _safe(path: str) -> str:
    """A path of this app: a link to the login page must not lead to another website afterwards."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_ours and not path.startswith((LOGIN, LOGOUT)) else "/"

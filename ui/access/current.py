"""Whether the app is shared, and who sends a request or runs a page. Knows cookies and Streamlit's settings; not the login page."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope
from streamlit.runtime import get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from smolvlm_core.access import sharing
from smolvlm_core.access.logins import Logins
from smolvlm_core.access.users import LOCAL, User, Users
from smolvlm_core.errors import StoreError
from smolvlm_core.paths import data_folder
from ui.access import oidc

COOKIE = "smolvlm_lens_login"
# A header that the guard sets, so that a page knows what the guard knows of its connection.
SHARED = "x-smolvlm-lens-shared"
HOW = (
    "Add a user with `python -m smolvlm_core users add NAME --admin --this-machine`, or one password for all with "
    "`python -m smolvlm_core users add everyone`. docs/sharing.md has the details, identity providers too."
)


@lru_cache(maxsize=8)
def _logins(folder: Path) -> Logins:
    return Logins(Users(folder))


def logins() -> Logins:
    return _logins(data_folder())


def why_shared() -> str:
    """Why every user needs a login, by the settings; "" for an app of this machine only."""
    address, hosts = st.get_option("server.address") or "", tuple(st.get_option("server.allowedHosts"))
    return _why_shared(address, hosts, os.environ.get(sharing.LOGIN, ""))


_why_shared = lru_cache(maxsize=64)(sharing.why_shared)  # asked many times in each run of a page


def why_request_is_shared(scope: Scope) -> str:
    """As `why_shared`, by one request too: it comes through a proxy, or to another address of this machine."""
    if reason := why_shared():
        return reason
    headers = Headers(scope=scope)
    if through := next((name for name in sharing.FORWARDED if name in headers), None):
        return f"a proxy forwards requests (header {through})"
    server = scope.get("server")
    return f"it listens on {server[0]}" if server and not sharing.is_loopback(str(server[0])) else ""


def problem() -> str:
    """Why nobody can sign in to a shared app; "" where someone can."""
    try:
        users = logins().users.all()
    except StoreError as error:
        return str(error)
    if any(user.password for user in users) or (users and oidc.providers()):
        return ""
    return f"No one can sign in yet. {HOW}"


def user_of_request(scope: Scope) -> User | None:
    """The user of a request to a shared app; None for a stranger. Raises StoreError."""
    return user_of_cookies(cookie_parser(Headers(scope=scope).get("cookie", "")))


def user_of_route(scope: Scope) -> User | None:
    """The user of a request that the guard let through, of a shared app or not. Raises StoreError."""
    return user_of_request(scope) if Headers(scope=scope).get(SHARED) == "yes" else LOCAL


def user_of_cookies(cookies: Mapping[str, str]) -> User | None:
    """Raises StoreError."""
    if (token := cookies.get(COOKIE)) and (user := logins().user_of(token)) is not None:
        return user
    email, login = oidc.email_of(cookies), oidc.login_of(cookies)
    if email is None or login is None or logins().has_ended(login):
        return None
    return logins().users.find(email)


_sessions: OrderedDict[str, str] = OrderedDict()  # the name of the user who ran a page in a session last
MOST_SESSIONS = 10_000


def is_session_of(session: str, name: str) -> bool:
    """Whether a session, by the id that a browser names to come back to it, is that user's. Nobody else's is handed on: its
    widgets and fragments hold what its user saw."""
    return _sessions.get(session) == name


def is_shared() -> bool:
    """In a run of a page."""
    if why_shared():
        return True
    context = get_script_run_ctx()
    # A browser that has gone leaves no headers.
    if context is not None and get_instance().get_client(context.session_id) is None:
        return _sessions.get(context.session_id) != LOCAL.name
    return st.context.headers.get(SHARED) == "yes"


def user() -> User:
    """Who runs a page. Where nobody is signed in any more, says so and stops the run.

    Asked again in each run: a login ends with its time, its password and its user, and the browser's connection stays open.
    """
    if not is_shared():
        return _remembered(LOCAL)
    try:
        found = user_of_cookies(st.context.cookies)
    except StoreError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()
    if found is None:
        st.warning("You are signed out. Reload the page to sign in again.", icon=":material/lock:")
        st.stop()
    return _remembered(found)


def _remembered(user: User) -> User:
    if (context := get_script_run_ctx()) is not None:
        _sessions[context.session_id] = user.name
        _sessions.move_to_end(context.session_id)
        while len(_sessions) > MOST_SESSIONS:
            _sessions.popitem(last=False)
    return user

"""Logins with an identity provider: Streamlit's own (`[auth]` in .streamlit/secrets.toml), started without running a page.

`st.login` needs a page that runs, which nobody may reach before the login. The route that it leads to does the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from streamlit import auth_util
from streamlit.runtime.secrets import secrets_singleton
from streamlit.web.server.starlette import starlette_websocket as websocket

ROUTES = ("/auth/login", "/auth/logout", "/oauth2callback")
DEFAULT = "default"
USER_COOKIE = "_streamlit_user"
VERIFIED = "email_is_verified"  # of ours in [auth]: the provider sends no `email_verified`, and no one can choose their address


def providers() -> list[str]:
    """The providers of the secrets file; empty where there are none, or Authlib is not installed."""
    section = _section()
    if not section or not auth_util.is_authlib_installed():
        return []
    named = [name for name, value in section.items() if isinstance(value, Mapping) and "client_id" in value]
    return [*([DEFAULT] if section.get("client_id") else []), *named]


def address_of(provider: str) -> str:
    """Where a login with a provider begins. It is good for some minutes."""
    auth_util.validate_auth_credentials(provider)
    return f"{ROUTES[0]}?provider={auth_util.encode_provider_token(provider)}"


def email_of(cookies: Mapping[str, str]) -> str | None:
    """The verified address of who signed in; None for no one, or an address that is not verified."""
    if (decoded := _decoded(cookies)) is None:
        return None
    claims = websocket._parse_decoded_user_cookie(decoded, auth_util.get_origin_from_redirect_uri() or "")
    email = claims.get("email")
    if (
        not claims.get("is_logged_in") or not isinstance(email, str) or "@" not in email
    ):  # else it could be a user's name
        return None
    verified = claims.get("email_verified", _section().get(VERIFIED) is True)
    return email if verified in (True, "true") else None


def login_of(cookies: Mapping[str, str]) -> str | None:
    """Names one login, by what is signed: the claims and the time. None where nobody has signed in."""
    if (decoded := _decoded(cookies)) is None:
        return None
    return hashlib.sha256(decoded + cookies[USER_COOKIE].rpartition(".")[0].encode()).hexdigest()


def _decoded(cookies: Mapping[str, str]) -> bytes | None:
    if USER_COOKIE not in cookies or not _section():
        return None
    return websocket._get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE)


def _section() -> dict[str, Any]:
    if not secrets_singleton.load_if_toml_exists():
        return {}
    section = secrets_singleton.get("auth")
    return section.to_dict() if section is not None else {}

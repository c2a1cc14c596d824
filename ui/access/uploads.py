"""Limits of uploads to a shared app, looked at before the first byte: Streamlit keeps an upload in memory until a page takes it."""

from __future__ import annotations

import psutil
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope
from streamlit import runtime

from smolvlm_core.access.quota import refuse_if_full
from smolvlm_core.access.users import User
from smolvlm_core.errors import StoreError
from smolvlm_core.paths import data_folder
from smolvlm_core.web import content_length
from ui.access import current

ROUTE = "/_stcore/upload_file/"
MOST_OF_MEMORY = 0.25  # that uploads of all users may take while they wait


def is_upload(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in ("PUT", "POST") and scope["path"].startswith(ROUTE)


def refusal(scope: Scope, user: User) -> Response | None:
    """The answer to an upload that does not fit; None for one that does. Looks at the user's folder: call it on a thread."""
    length = content_length(Headers(scope=scope).get("content-length", ""))
    if length is None:
        return PlainTextResponse("An upload must say its size (Content-Length).", 411)
    try:
        refuse_if_full(user.folder(data_folder()), length, current.logins().users.limits.disk_bytes)
    except StoreError as error:
        return PlainTextResponse(str(error), 413)
    if _waiting_bytes() + length > MOST_OF_MEMORY * psutil.virtual_memory().total:
        return PlainTextResponse("Too many uploads at once. Try again in a minute.", 503, {"Retry-After": "60"})
    return None


def _waiting_bytes() -> int:
    manager = runtime.get_instance().uploaded_file_mgr
    stored = getattr(manager, "file_storage", {})  # of the one manager that Streamlit has
    return sum(len(upload.data) for files in tuple(stored.values()) for upload in tuple(files.values()))

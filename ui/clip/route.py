"""Stored clips, for the player of the video page: in pieces, as it asks (HTTP ranges), never whole in memory.

Streamlit's own player reads the whole file at every run of the page.
"""

from __future__ import annotations

import mimetypes
import re

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from smolvlm_core.video import is_clip_file
from ui.access import current
from ui.state import workspace_of

PATH = "/clip/{sha256}"
# No other site may embed a clip, and so learn that it exists. Browsers must not guess another content type.
HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


def url_of(sha256: str) -> str:
    return PATH.format(sha256=sha256)


def send_clip(request: Request) -> Response:
    """404 for what this user has not stored. A clip is named by its SHA-256, which only those who have it know."""
    sha256, user = request.path_params["sha256"], current.user_of_route(request.scope)
    if user is None:
        return Response(status_code=404)
    path = workspace_of(user).store.media.path(sha256) if re.fullmatch("[0-9a-f]{64}", sha256) else None
    if path is None or not path.is_file() or not is_clip_file(path):
        return Response(status_code=404)
    kind = mimetypes.guess_type(path.name)[0] or ""
    return FileResponse(
        path, media_type=kind if kind.startswith(("video/", "image/gif")) else "video/mp4", headers=HEADERS
    )

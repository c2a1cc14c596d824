"""Stored clips, for the player of the video page: in pieces, as it asks (HTTP ranges), never whole in memory.

Streamlit's own player reads the whole file at every run of the page.
"""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from smolvlm_core.video import is_clip_file
from smolvlm_core.workspace import Workspace
from ui.access import current
from ui.state import workspace_of

PATH = "/clip/{sha256}"
# No other site may embed a clip, and so learn that it exists. Browsers must not guess another content type.
HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


def url_of(sha256: str) -> str:
    return PATH.format(sha256=sha256)


def send_clip(request: Request) -> Response:
    """404 for what this user has neither stored nor a timeline of. A clip is named by its SHA-256, which only those who have it
    know."""
    sha256, user = request.path_params["sha256"], current.user_of_route(request.scope)
    if user is None:
        return Response(status_code=404)
    path = _path(workspace_of(user), sha256) if re.fullmatch("[0-9a-f]{64}", sha256) else None
    if path is None or not is_clip_file(path):
        return Response(status_code=404)
    kind = mimetypes.guess_type(path.name)[0] or ""
    return FileResponse(
        path, media_type=kind if kind.startswith(("video/", "image/gif")) else "video/mp4", headers=HEADERS
    )


def _path(workspace: Workspace, sha256: str) -> Path | None:
    """Where a clip is: stored, or where it was when a timeline of it was made on the command line."""
    if (stored := workspace.store.media.path(sha256)).is_file():
        return stored
    found = (workspace.timelines.path_of(timeline) for timeline in workspace.timelines.of_clip(sha256))
    return next((path for path in found if path is not None), None)

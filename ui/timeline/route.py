"""The frames of a timeline's segments, small and whole, as the browser asks for them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.conversations import pictures
from smolvlm_core.conversations.pictures import BrowserFile
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace
from ui.access import current
from ui.pictures.route import HEADERS
from ui.state import workspace_of

BASE = "/segment"
PATH = BASE + "/{segment:int}/{position:int}/{size}"
_whole: ByteCache[BrowserFile] = ByteCache(64 * 2**20, lambda file: len(file.data))


def send_frame(request: Request) -> Response:
    """404 for what is not in a timeline of this user. `size`: "small", or "whole", which is decoded from the clip again."""
    user, found = current.user_of_route(request.scope), request.path_params
    if user is None or found["size"] not in ("small", "whole"):
        return Response(status_code=404)
    try:
        file = _file(workspace_of(user), found["segment"], found["position"], found["size"] == "small")
    except LensError:  # the clip is gone, or damaged
        file = None
    return Response(file.data, media_type=file.mime, headers=HEADERS) if file else Response(status_code=404)


ROUTE = Route(PATH, send_frame)


def _file(workspace: Workspace, segment: int, position: int, small: bool) -> BrowserFile | None:
    """Raises LensError."""
    timelines = workspace.timelines
    jpeg = timelines.store.thumbnail(segment, position)
    if jpeg is None or small:  # it may have been deleted since the whole one was read
        return BrowserFile(jpeg, "image/jpeg") if jpeg is not None else None
    key = (workspace.folder, segment, position)
    return _whole.get(key, lambda: pictures.file_of_image(timelines.picture(segment, position)))

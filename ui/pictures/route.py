"""The pictures that a page shows, small and whole, as the browser asks for them. Pages themselves send addresses only."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from smolvlm_core import media
from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.conversations import pictures
from smolvlm_core.conversations.pictures import BrowserFile
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace
from ui.access import current
from ui.state import workspace_of

PATH, SMALL_PATH = "/picture/{sha256}", "/thumbnail/{sha256}"
# As the headers of clips (ui/clip/route.py). A picture never changes; others who use this browser get none of its copies.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=3600",
    "Vary": "Cookie",
}
MOST_OFFERED = 4096

_small, _whole = (ByteCache[BrowserFile](size, lambda file: len(file.data)) for size in (64 * 2**20, 128 * 2**20))
_offered: ByteCache[Callable[[], Image.Image]] = ByteCache(MOST_OFFERED, lambda _: 1)


def url_of(sha256: str) -> str:
    return PATH.format(sha256=sha256)


def thumbnail_url(sha256: str) -> str:
    return SMALL_PATH.format(sha256=sha256)


def offer(folder: Path, sha256: str, open_it: Callable[[], Image.Image]) -> None:
    """Make a picture that is not stored available to the user whose data folder this is. The least recently used go first."""
    _offered.put((folder, sha256), open_it)


def send_picture(request: Request) -> Response:
    """The whole picture. 404 for what this user has neither stored nor on a page."""
    return _send(request, small=False)


def send_thumbnail(request: Request) -> Response:
    return _send(request, small=True)


ROUTES = [Route(PATH, send_picture), Route(SMALL_PATH, send_thumbnail)]


def _send(request: Request, *, small: bool) -> Response:
    sha256, user = request.path_params["sha256"], current.user_of_route(request.scope)
    if user is None or not re.fullmatch("[0-9a-f]{64}", sha256):
        return Response(status_code=404)
    try:
        file = _file(workspace_of(user), sha256, small)
    except LensError:  # damaged, or no picture
        file = None
    return Response(file.data, media_type=file.mime, headers=HEADERS) if file else Response(status_code=404)


def _file(workspace: Workspace, sha256: str, small: bool) -> BrowserFile | None:
    """Raises LensError."""
    store, cache, key = workspace.store, _small if small else _whole, (workspace.folder, sha256)
    if (path := store.media.path(sha256)).is_file():
        if path.stat().st_size > media.MAX_IMAGE_BYTES:
            return None  # a clip
        if small:
            return cache.get(key, lambda: pictures.small_file(store.media.picture(sha256)))
        return cache.get(key, lambda: pictures.browser_file(store.media.bytes(sha256), path.name))
    if (open_it := _offered.peek(key)) is None:
        return None
    return cache.get(key, lambda: (pictures.small_file if small else pictures.file_of_image)(open_it()))

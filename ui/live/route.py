"""Takes the frames that the camera of a browser sends, one after another, and shows the newest frame of a clip or stream.

Each user reaches the live session of their own only.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from smolvlm_core.errors import LensError
from smolvlm_core.live.sources import MAX_CAMERA_BYTES, CameraSource
from smolvlm_core.web import content_length
from ui.access import current
from ui.state import workspace_of

PATH, NEWEST = "/live/frame/{token}", "/live/newest"
HEADERS = {"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "Vary": "Cookie"}


def url_of(token: str) -> str:
    return PATH.format(token=token)


async def take_frame(request: Request) -> Response:
    """204 for a frame that was taken; 410 where this user has no session that waits for frames with this token."""
    try:
        user = current.user_of_route(request.scope)
    except LensError as error:
        return PlainTextResponse(str(error), 503)
    if user is None:
        return Response(status_code=410)
    session = workspace_of(user).live.running
    if session is None or not isinstance(session.source, CameraSource):
        return Response(status_code=410)
    length = content_length(request.headers.get("content-length", ""))
    if length is None or length > MAX_CAMERA_BYTES:
        return PlainTextResponse(f"A frame says its size and has at most {MAX_CAMERA_BYTES:,} bytes.", 413)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > length:
            return PlainTextResponse("The frame is longer than it says.", 413)
    try:
        taken = session.source.offer(
            request.path_params["token"], bytes(data), _seconds(request.headers.get("x-frame-age", ""))
        )
    except LensError as error:
        return PlainTextResponse(str(error), 400)
    return JSONResponse({}) if taken else Response(status_code=410)


def send_newest(request: Request) -> Response:
    """The newest frame of the session that runs, as a JPEG, whether the model is asked about it or not."""
    try:
        user = current.user_of_route(request.scope)
        session = workspace_of(user).live.running if user is not None else None
        latest = session.newest.latest if session is not None else None
        if latest is None:
            return Response(status_code=404)
        return Response(latest.jpeg(), media_type="image/jpeg", headers=HEADERS)
    except LensError:
        return Response(status_code=404)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


ROUTES = [Route(PATH, take_frame, methods=["POST"]), Route(NEWEST, send_newest)]

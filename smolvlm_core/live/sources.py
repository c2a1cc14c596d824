"""Where live frames come from: a camera in the browser, a clip played as live, or a stream by address.

A source knows its format and offers frames. It does not know who takes them, nor when.
"""

from __future__ import annotations

import secrets
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from smolvlm_core import media
from smolvlm_core.errors import MediaError
from smolvlm_core.live.addresses import StreamAddress
from smolvlm_core.live.frames import NewestFrame
from smolvlm_core.video.cut.plan import open_source
from smolvlm_core.video.decoders.base import check_pixels
from smolvlm_core.video.decoders.pixels import Orientation, orientation_of, pixels_of

if TYPE_CHECKING:
    import av

JPEG_QUALITY = 90
MAX_CAMERA_BYTES = 2 * 2**20
CONNECT_SECONDS, READ_SECONDS = 10.0, 10.0
MAX_RETRY_SECONDS = 30.0
FILES = (
    "mov",
    "matroska",
    "ogg",
    "flv",
    "mpegts",
)  # formats of files that a server can send faster than they are played


class Source(Protocol):
    """`name`: for people. `sha256`: of a clip in the store; "" for others. `problem`: why no frame comes now, as a sentence."""

    name: str
    sha256: str
    problem: str

    def run(self, newest: NewestFrame, edge: int, cancel: threading.Event) -> None:
        """Offer frames until there are no more, or `cancel` is set. Runs on a thread of its own. They are decoded to at most `edge` px;
        a camera sends JPEGs of its own size."""


class CameraSource:
    """A camera of a browser, which sends one JPEG after another with the token. `seconds` of its frames: since `run` began."""

    def __init__(self) -> None:
        self.name, self.sha256, self.problem = "Camera", "", ""
        self.token = secrets.token_urlsafe(24)
        self._newest: NewestFrame | None = None  # before and after `run`
        self._began, self._is_over = 0.0, False

    def run(self, newest: NewestFrame, edge: int, cancel: threading.Event) -> None:
        self._began, self._newest = time.monotonic(), newest
        cancel.wait()
        self._newest, self._is_over = None, True

    def renew_token(self) -> str:
        """Another tab takes over: what the one before still sends is refused."""
        self.token = secrets.token_urlsafe(24)
        return self.token

    def offer(self, token: str, data: bytes, age_seconds: float = 0.0) -> bool:
        """A frame from the browser, which it took `age_seconds` ago. One that comes before `run` is dropped.

        Returns:
            False where the session is over or another tab sends.

        Raises:
            MediaError: it is not a JPEG, or too large.
        """
        newest = self._newest
        if self._is_over or not secrets.compare_digest(token.encode(), self.token.encode()):
            return False
        if not data.startswith(b"\xff\xd8\xff"):
            raise MediaError("A camera frame must be a JPEG.", "Reload the page.")
        if len(data) > MAX_CAMERA_BYTES:
            raise MediaError(f"A camera frame has {len(data):,} bytes; {MAX_CAMERA_BYTES:,} are allowed.")
        if newest is not None:
            seen = max(self._began, time.monotonic() - min(max(age_seconds, 0.0), 10.0))
            newest.offer(seen - self._began, lambda: data, seen)
        return True


class ClipSource:
    """A clip that is played once, at its own speed. `seconds` of its frames: their times in the clip."""

    def __init__(self, path: Path, name: str, sha256: str = "") -> None:
        self.path, self.name, self.sha256, self.problem = path, name, sha256, ""

    def run(self, newest: NewestFrame, edge: int, cancel: threading.Event) -> None:
        import av

        try:
            with open_source(self.path) as container:
                _play(container, newest, edge, cancel)
        except MediaError as error:
            newest.end(str(error))
        except (av.error.FFmpegError, ValueError, OSError, IndexError) as error:
            newest.end(f"The clip cannot be played any further: {error}.")
        else:
            newest.end("The clip ended.")


class StreamSource:
    """A stream by address. Connects again when it breaks off. A file is played once. `seconds` of its frames: since `run` began."""

    def __init__(self, address: StreamAddress) -> None:
        self.address, self.name, self.sha256, self.problem = address, address.name, "", ""

    def run(self, newest: NewestFrame, edge: int, cancel: threading.Event) -> None:
        began, wait = time.monotonic(), 1.0
        while not cancel.is_set():
            before = newest.offered
            try:
                if self._read(newest, edge, cancel, began) and not cancel.is_set():
                    newest.end("The stream ended.")
                    return
                self.problem = f"{self.name} ended the stream. Connecting again."
            except MediaError as error:
                self.problem = str(error)
            wait = 1.0 if newest.offered > before else min(2 * wait, MAX_RETRY_SECONDS)
            cancel.wait(wait)

    def _read(self, newest: NewestFrame, edge: int, cancel: threading.Event, began: float) -> bool:
        """Whether it was a file, which has an end. Raises MediaError."""
        import av

        try:
            given: Any = {"options": self.address.options, "timeout": (CONNECT_SECONDS, READ_SECONDS)}
            with av.open(self.address.url, "r", metadata_errors="replace", **given) as container:
                if _is_file(container):
                    self.problem = ""
                    _play(container, newest, edge, cancel, time.monotonic() - began)
                    return True
                stream = container.streams.video[0]
                _check(stream)
                for frame in container.decode(stream):
                    if cancel.is_set():
                        return False
                    self.problem = ""
                    newest.offer(time.monotonic() - began, partial(_jpeg_of, frame, orientation_of(frame), 1.0, edge))
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise MediaError(f"{self.name} cannot be read: {_reason(error)}. Trying again.") from error
        except IndexError as error:
            raise MediaError(f"{self.name} has no video. Trying again.") from error
        return False


def _is_file(container: av.container.InputContainer) -> bool:
    """Whether it has an end that is known now. A stream that goes on has neither a size nor a duration."""
    return container.format.name.split(",")[0] in FILES and (container.size > 0 or (container.duration or 0) > 0)


def _reason(error: BaseException) -> str:
    """Without the address, which can contain a password."""
    return str(getattr(error, "strerror", "") or type(error).__name__)


def _check(stream: Any) -> None:
    check_pixels(Path("The clip"), stream.codec_context.width, stream.codec_context.height)


def _play(
    container: av.container.InputContainer,
    newest: NewestFrame,
    edge: int,
    cancel: threading.Event,
    zero_seconds: float = 0.0,
) -> None:
    """Each frame when it is due. `zero_seconds`: the time of the first one."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    _check(stream)
    aspect = float(stream.sample_aspect_ratio or 1)
    aspect = aspect if 0.1 < aspect < 10 else 1.0
    began, first = time.monotonic(), None
    for frame in container.decode(stream):
        if frame.pts is None or frame.time_base is None:
            continue
        at = float(frame.pts * frame.time_base)
        first = at if first is None else first
        due = began + at - first
        if cancel.wait(max(0.0, due - time.monotonic())) or cancel.is_set():
            return
        newest.offer(zero_seconds + at - first, partial(_jpeg_of, frame, orientation_of(frame), aspect, edge), due)


def _jpeg_of(frame: av.VideoFrame, orientation: Orientation, aspect: float, edge: int) -> bytes:
    """Raises MediaError."""
    import av

    try:
        return media.jpeg_bytes(Image.fromarray(pixels_of(frame, orientation, aspect, edge)), JPEG_QUALITY)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"A frame cannot be read: {_reason(error)}.") from error

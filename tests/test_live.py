"""Live sessions: a clip played as live, a stream and a camera, with the bundled model; alerts, skipped frames, what is kept."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from smolvlm_core import media
from smolvlm_core.access.quota import used_bytes
from smolvlm_core.access.users import UNLIMITED
from smolvlm_core.backends.base import Backend
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.live.addresses import StreamAddress, check_address
from smolvlm_core.live.alerts import Alert, Trigger
from smolvlm_core.live.asking import Asker, Given
from smolvlm_core.live.frames import NewestFrame, changed_share, look_of
from smolvlm_core.live.log import LiveLog, picture_of
from smolvlm_core.live.records import LiveRequest
from smolvlm_core.live.session import LiveSession
from smolvlm_core.live.sessions import LiveSessions
from smolvlm_core.live.sources import CameraSource, ClipSource, Source, StreamSource, _jpeg_of
from smolvlm_core.timeline import rows
from smolvlm_core.video.decoders.pixels import Orientation
from smolvlm_core.workspace import Workspace
from tests.conftest import drawn

RED, QUESTION = "Is there a red circle?", "Describe this image."


def write_shapes(path: Path, parts: list[tuple[str, float]], fps: int = 20) -> Path:
    """A clip of a circle in one color after another, each for some seconds. "white": nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = 320
        stream.pix_fmt = "yuv420p"
        for color, seconds in parts:
            frame = av.VideoFrame.from_image(drawn(color, size=320))
            for _ in range(round(seconds * fps)):
                frame.pts = None
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def request(**changes: Any) -> LiveRequest:
    given: dict[str, Any] = {"entry": "smolvlm-shapes", "precision": "float32", "question": QUESTION}
    return LiveRequest(**{**given, **changes})


def run(workspace: Workspace, asked: LiveRequest, source: Source) -> LiveSession:
    """A session, once it has ended by itself."""
    workspace.registry.make("smolvlm-shapes", "float32").preload()
    live = workspace.live.begin(asked, source)
    assert live.job is not None
    live.job.wait(120)
    assert live.job.done
    assert live.job.problem is None
    return live


def until(true: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it does not come true"
        time.sleep(0.02)


@pytest.fixture(scope="module", autouse=True)
def loaded(backend: object, pool: Any) -> None:
    """So that no clip plays while the model loads."""
    for_once = Workspace(None).registry.make("smolvlm-shapes", "float32")
    given = Given(image=drawn(), sha256="0" * 64, detail="fast")
    Asker(for_once, request(), threading.Event(), lambda *_: None).ask(given)


def test_an_alert_comes_at_the_right_second_and_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    clip = write_shapes(tmp_path / "a.mp4", [("blue", 2), ("red", 4), ("blue", 2)])
    live = run(workspace, request(alerts=(Alert(question=RED),)), ClipSource(clip, "a.mp4"))
    assert live.over == "The clip ended."
    entries = live.entries[::-1]
    assert [event.question for event in live.events] == [RED]
    event = live.events[0]
    first_red = next(entry for entry in entries if entry.seconds >= 2 - 1e-6)
    assert event.seconds == first_red.seconds  # the first frame with the circle that was asked about
    slowest = max(entry.latency_seconds for entry in entries)
    assert 2 - 1e-6 <= event.seconds <= 2 + slowest + 0.2
    for entry in entries:
        is_red = 2 <= entry.seconds + 1e-6 < 6
        assert (entry.answers[1].yes or 0) > 0.9 if is_red else (entry.answers[1].yes or 0) < 0.1
        assert ("red circle" in entry.answers[0].text) == is_red

    # No queue: each frame was asked about, or replaced by a newer one.
    assert live.frames == 160
    assert live.frames == live.asked + live.skipped
    assert live.skipped == sum(entry.skipped for entry in entries) > 0
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(entries))

    # On disk, after a restart too: the frame as the model was given it, its answers and the alert.
    again = Workspace(workspace.folder)
    (timeline,) = again.live.past()
    assert (timeline.kind, timeline.columns) == ("live", {0: QUESTION, 1: RED})
    assert again.live.events(timeline.identity) == live.events
    assert len(again.live.entries(timeline.identity, 1000)) == len(entries)
    newest = again.live.entries(timeline.identity, 1)[0]
    assert newest.caption == entries[-1].answers[0].text
    assert event.segment is not None
    stored = again.timelines.store.picture(event.segment, 0)
    assert stored is not None
    assert media.sha256_of(stored) == event.sha256
    red, green, blue = picture_of(again.timelines.store, event.segment).getpixel((160, 160))  # type: ignore[misc]
    assert red > 200 > 60 > max(green, blue)
    assert [hit.segment for hit in again.timelines.search("red circle")]
    again.live.delete(timeline.identity)
    assert again.live.past() == []
    assert again.live.events(timeline.identity) == []


def test_it_can_ask_only_when_the_picture_changes(workspace: Workspace, tmp_path: Path) -> None:
    clip = write_shapes(tmp_path / "a.mp4", [("blue", 1.5), ("red", 1.5), ("white", 1.5)])
    live = run(workspace, request(change=0.02), ClipSource(clip, "a.mp4"))
    colors = [entry.answers[0].text for entry in live.entries[::-1]]
    assert len(colors) == 3
    assert ["blue" in colors[0], "red" in colors[1]] == [True, True]
    assert live.unchanged > 0
    assert live.frames == live.asked + live.skipped + live.unchanged
    assert [entry.changed is None for entry in live.entries[::-1]] == [True, False, False]


def test_an_alert_is_debounced() -> None:
    trigger = Trigger(Alert(question=RED, rise=0.7, reset=0.4, quiet_seconds=5))
    answers = [0.1, 0.8, 0.9, 0.5, 0.8, 0.3, 0.9, 0.9, 0.9, 0.2, 0.69, 0.75, 0.75]
    #          –    yes  wavers: one event  ↓     too soon → at 6 s     ↓     too soon → at 11 s
    assert [s for s, p in enumerate(answers) if trigger.is_event(p, float(s))] == [1, 6, 11]
    same = Trigger(Alert(question=RED, rise=0.5, reset=0.5, quiet_seconds=0))
    assert [same.is_event(p, s) for s, p in enumerate((0.5, 0.5, 0.49, 0.5))] == [True, False, False, True]
    with pytest.raises(ValueError, match="reset is 0.8 and rise 0.7"):
        Alert(question=RED, rise=0.7, reset=0.8)


def test_there_is_room_for_one_frame_only() -> None:
    newest = NewestFrame()
    for number in range(5):
        newest.offer(float(number), lambda: b"")
    frame = newest.take(0)
    assert frame is not None
    assert (frame.number, frame.seconds, newest.replaced) == (5, 4.0, 4)
    assert newest.take(0) is None
    newest.offer(9.0, lambda: b"")
    newest.end("Over.")
    newest.offer(10.0, lambda: b"")  # too late
    last = newest.take(0)
    assert last is not None
    assert (last.seconds, newest.offered) == (9.0, 6)


def test_a_change_is_seen_where_grey_stays_the_same() -> None:
    looks = [look_of(Image.new("RGB", (640, 480), color)) for color in ("#ff0000", "#008200")]
    assert changed_share(looks[0], looks[0]) == 0
    assert changed_share(*looks) == 1


def test_a_camera_sends_with_its_token_and_the_session_says_when_it_is_silent(workspace: Workspace) -> None:
    source = CameraSource()
    live = workspace.live.begin(request(), source)
    jpeg = media.jpeg_bytes(drawn("red"))
    until(lambda: source.offer(source.token, jpeg) and live.asked)  # what comes before the model is loaded is dropped
    assert "red circle" in live.entries[0].answers[0].text
    with pytest.raises(LensError, match="A live session is running"):
        workspace.live.begin(request(), CameraSource())
    with pytest.raises(MediaError, match="must be a JPEG"):
        source.offer(source.token, b"GIF89a")
    old, new = source.token, source.renew_token()  # another tab takes over
    assert not source.offer(old, media.jpeg_bytes(drawn("red")))
    assert source.offer(new, media.jpeg_bytes(drawn("red"))[:700])
    until(lambda: live.damaged == 1)
    assert "damaged" in live.problem
    assert live.silent_seconds > 0
    live.stop()
    until(lambda: not live.is_running)
    assert live.over == "Stopped."
    assert not source.offer(new, media.jpeg_bytes(drawn("red")))
    assert not [thread for thread in threading.enumerate() if thread.name == "live-source"]


class _Camera(BaseHTTPRequestHandler):
    """An MJPEG stream over HTTP, as network cameras send it. /moved leads elsewhere."""

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        jpeg = media.jpeg_bytes(drawn("red", size=320))
        try:
            for _ in range(200):
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")
                time.sleep(0.05)
        except OSError:
            pass  # the app hung up


@pytest.fixture
def camera() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    server.paths = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_stream_is_read_by_its_address(workspace: Workspace, camera: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{camera.server_port}"
    address = check_address(f"{url}/user=me&password=secret?password=secret", ["127.0.0.1"])
    assert (address.name, "secret" in repr(address)) == (f"127.0.0.1:{camera.server_port}", False)
    live = workspace.live.begin(request(), StreamSource(address))
    until(lambda: live.asked >= 2)
    assert "red circle" in live.entries[0].answers[0].text
    live.stop()
    until(lambda: not live.is_running)
    source = StreamSource(check_address(f"{url}/moved", ["127.0.0.1"]))
    live = workspace.live.begin(request(), source)
    until(lambda: source.problem)
    live.stop()
    assert "/elsewhere" not in camera.paths  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "allowed", "problem"),
    [
        ("rtsp://192.168.1.20/stream", [], "Streams by address are off"),
        ("rtsp://192.168.1.20/stream", ["192.168.1.21"], "192.168.1.20 is not listed"),
        ("rtsp://192.168.1.20:8554/s", ["192.168.1.20:554"], "192.168.1.20 is not listed"),
        ("file:///etc/passwd", ["192.168.1.20"], "not an address of a stream"),
        ("concat:a|b", ["a"], "not an address of a stream"),
        ("rtsp://192.168.1.20:99999/s", ["192.168.1.20"], "not an address of a stream"),
        ("http://192.168.1.20@evil.example/s", ["192.168.1.20"], "evil.example is not listed"),
        ("rtsp://ME:PW@Cam.Example:8554/s", ["cam.example:8554"], ""),
        ("rtsp://192.168.1.20/s", ["192.168.1.20:554"], ""),
    ],
)
def test_streams_are_off_unless_their_host_is_listed(url: str, allowed: list[str], problem: str) -> None:
    if problem:
        with pytest.raises(LensError, match=problem):
            check_address(url, allowed)
    else:
        address = check_address(url, allowed)
        assert isinstance(address, StreamAddress)
        assert "PW" not in address.name


def test_what_cannot_be_asked_is_refused_before_it_starts(workspace: Workspace) -> None:
    sessions: LiveSessions = workspace.live
    for wrong, problem in (
        (request(question=""), "nothing to ask"),
        (request(question="What is <image>?"), "reserves"),
        (request(alerts=(Alert(question=RED), Alert(question=RED))), "same question"),
        (request(entry="nothing"), "no model or backend called"),
    ):
        with pytest.raises(LensError, match=problem):
            sessions.begin(wrong, CameraSource())
    assert sessions.current is None
    assert sessions.past() == []


def test_a_frame_that_is_kept_is_the_one_that_was_given() -> None:
    """JPEG is lossy: the model is given what its bytes decode to, not what they were made from."""
    jpeg = media.jpeg_bytes(drawn("red"), 30)
    assert media.open_image(jpeg).image.tobytes() == Image.open(io.BytesIO(jpeg)).convert("RGB").tobytes()


def latin_title(path: Path, data: bytes) -> Path:
    """A clip whose title is not UTF-8."""
    assert b"Ol-title" in data
    path.write_bytes(data.replace(b"Ol-title", b"Ol\xe9title"))
    return path


def offered(source: Source, seconds: float = 20) -> NewestFrame:
    """What a source offers until it ends."""
    newest, cancel = NewestFrame(), threading.Event()
    thread = threading.Thread(target=source.run, args=(newest, 320, cancel), daemon=True)
    thread.start()
    until(lambda: newest.ended or not thread.is_alive(), seconds)
    cancel.set()
    return newest


def titled_clip(path: Path) -> Path:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        container.metadata["title"] = "Ol-title"
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_image(drawn("red", size=64))))
        container.mux(stream.encode(None))
    return latin_title(path, path.read_bytes())


def test_a_clip_is_played_whatever_its_title_and_only_formats_of_clips_are_opened(tmp_path: Path) -> None:
    played = offered(ClipSource(titled_clip(tmp_path / "a.mp4"), "a.mp4"))
    assert (played.ended, played.offered) == ("The clip ended.", 10)
    listing = tmp_path / "list.mp4"
    listing.write_text(f"ffconcat version 1.0\nfile {tmp_path / 'a.mp4'}\n")  # would open another file
    refused = offered(ClipSource(listing, "list.mp4"))
    assert "cannot be read" in refused.ended
    assert refused.offered == 0


def test_a_source_that_breaks_ends_the_session(workspace: Workspace) -> None:
    class Broken(CameraSource):
        def run(self, newest: NewestFrame, edge: int, cancel: threading.Event) -> None:
            raise RuntimeError("out of order")

    live = workspace.live.begin(request(), Broken())
    assert live.job is not None
    live.job.wait(30)
    assert "out of order" in live.over


def test_a_file_by_address_is_played_once_at_its_own_speed(tmp_path: Path) -> None:
    titled_clip(tmp_path / "a.mp4")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        address = check_address(f"http://127.0.0.1:{server.server_port}/a.mp4", ["127.0.0.1"])
        played = offered(StreamSource(address))
        server.shutdown()
    assert (played.ended, played.offered) == ("The stream ended.", 10)
    assert time.monotonic() - began >= 0.9


def test_a_frame_that_cannot_be_converted_is_a_damaged_one() -> None:
    with pytest.raises(MediaError, match="A frame cannot be read"):
        _jpeg_of(av.VideoFrame(64, 64, "rgb24"), Orientation(), float("nan"), 320)


class Acting:
    """A backend that does something else before it answers or gets ready."""

    def __init__(self, backend: Backend, **instead: Any) -> None:
        self._backend, self._instead = backend, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._backend, name)


def test_a_backend_that_fails_and_sets_its_event_does_not_look_like_a_stop(workspace: Workspace) -> None:
    def fail(prompt: object, settings: object, cancel: threading.Event) -> Iterator[Any]:
        cancel.set()
        raise LensError("The server died.")
        yield

    backend: Any = Acting(workspace.registry.make("smolvlm-shapes", "float32"), generate=fail)
    cancel = threading.Event()
    given = Given(image=drawn(), sha256="0" * 64, detail="fast")
    (answer,) = Asker(backend, request(), cancel, lambda *_: None).ask(given)
    assert (answer.error, cancel.is_set()) == ("The server died.", False)


def test_a_stop_while_the_model_loads_is_a_stop(workspace: Workspace) -> None:
    def stopped(prompt: object, settings: object, own: threading.Event) -> Iterator[Any]:
        cancel.set()
        assert own.wait(5)  # the stop of the session reaches the backend
        raise LensError("Loading was cancelled.")
        yield

    cancel = threading.Event()
    backend: Any = Acting(workspace.registry.make("smolvlm-shapes", "float32"), prepare=stopped)
    log = LiveLog(workspace.timelines.store, request(), "Camera", "", "shapes")
    live = LiveSession(request(), CameraSource(), backend, log)
    live.work(lambda text, share: None, cancel)
    assert live.over == "Stopped."


def test_only_the_entries_that_are_shown_are_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = workspace.timelines.store
    log = LiveLog(store, request(), "Camera", "", "shapes")
    log.begin()
    ids = [store.add_segment(log.identity, float(at), at + 1.0) for at in (5, 4, 3, 2, 1)]  # a clock that goes back
    whole: Any = rows.segments_of
    read: list[Any] = []
    monkeypatch.setattr(rows, "segments_of", lambda found, *rest: read.append(len(found)) or whole(found, *rest))
    assert [segment.identity for segment in workspace.live.entries(log.identity, 2)] == ids[:2:-1]
    assert read == [2]


def test_a_session_ends_where_its_user_has_no_room_left(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is checked again and again while it runs, not only at the start."""
    monkeypatch.setattr("smolvlm_core.live.log.ROOM_BYTES", 4000)
    source, empty = CameraSource(), used_bytes(workspace.folder)
    monkeypatch.setattr(workspace, "limits", lambda: replace(UNLIMITED, disk_bytes=empty + 300_000))
    live = workspace.live.begin(request(), source)
    jpeg = media.jpeg_bytes(drawn("red"))
    until(lambda: not source.offer(source.token, jpeg) or not live.is_running)
    assert "over your limit" in live.over
    assert 1 <= live.asked <= 200

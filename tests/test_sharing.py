"""The app as it is shared: started on every address, with users who sign in. In a real server and a real Chromium."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from PIL import Image
from streamlit.proto.WidgetStates_pb2 import WidgetState

from smolvlm_core.access.users import Users
from smolvlm_core.conversations.store import Store
from smolvlm_core.media import jpeg_bytes
from smolvlm_core.paths import BUNDLED_CHECKPOINT, GALLERY
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.records import Request, Timeline
from smolvlm_core.timeline.segments import Piece
from smolvlm_core.timeline.store import KeptFrame, TimelineStore
from tests.clips import write_numbered
from tests.conftest import drawn
from tests.raw_session import RawSession
from ui.access import current

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct horse battery"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
HTML = {"Accept": "text/html"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
}
ROUTES = (
    "/",
    "/backends",
    "/usage",
    f"/clip/{'0' * 64}",
    f"/picture/{'0' * 64}",
    f"/thumbnail/{'0' * 64}",
    "/segment/1/0/small",
    "/viewer.js",
    "/media/x.png",
    "/_stcore/host-config",
    "/_stcore/upload_file/x/y",
    "/_stcore/metrics",
    "/static/index.html",
    "/component/x/y",
    "/nothing",
)


@dataclass
class App:
    url: str
    data: Path
    log: Path

    def client(self, name: str = "") -> httpx.Client:
        """A browser, more or less; one that has signed in where there is a name."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        if name:
            assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        return client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(data: Path, *options: str, port: int = 0, **environment: str) -> tuple[subprocess.Popen[bytes], App]:
    port = port or free_port()
    log = data.with_suffix(".log")
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), *options]
    variables = {**os.environ, "SMOLVLM_LENS_DATA": str(data), "HF_HUB_OFFLINE": "1", **environment}
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=out, stderr=out)
    app = App(f"http://localhost:{port}", data, log)
    for _ in range(600):
        if server.poll() is not None:  # it refused to start
            return server, app
        try:
            if httpx.get(f"{app.url}/_stcore/health", trust_env=False).status_code == 200:
                return server, app
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"the app did not start: {log.read_text()}")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Shared with every address. Something was stored before it was; anna owns that and is an admin, bob is neither."""
    data = tmp_path_factory.mktemp("shared") / "data"
    store = Store(data)
    store.add_question(store.create("image"), "A question from before")
    users = Users(data)
    users.put("anna", password=PASSWORD, is_admin=True, owns=True)
    users.put("bob", password=PASSWORD)
    server, app = start(data, "--server.address", "0.0.0.0")
    yield app
    stop(server)


def test_a_shared_app_without_users_does_not_start(tmp_path: Path) -> None:
    for options in (["--server.address", "0.0.0.0"], ["--server.allowedHosts", "lens.example.org"]):
        server, app = start(tmp_path / "data", *options)
        assert server.wait(60) == 1
        log = app.log.read_text()
        assert "needs a login" in log and "users add" in log and "Traceback" not in log


def test_strangers_reach_no_route(app: App) -> None:
    with app.client() as stranger:
        for path in ROUTES:
            assert stranger.get(path).status_code == 401, path
            assert stranger.put(path).status_code == 401, path
            page = stranger.get(path, headers=HTML)
            assert page.status_code == 303 and page.headers["location"].startswith("/login"), path
        assert stranger.get("/_stcore/stream", headers=UPGRADE).status_code == 403
        assert stranger.get("/_stcore/health").text == "ok"
    for cookie in ("", "x", "bob", "W10.x.y"):
        forged = httpx.get(f"{app.url}/", headers={"Cookie": f"smolvlm_lens_login={cookie}"}, trust_env=False)
        assert forged.status_code == 401, cookie


def test_a_login_opens_the_app_until_it_is_signed_out(app: App) -> None:
    with app.client() as browser:
        refused = browser.post("/login", data={"name": "anna", "password": "wrong"})
        assert refused.status_code == 401 and "The name or the password is wrong." in refused.text
        signed_in = browser.post("/login", data={"name": "anna", "password": PASSWORD, "next": "/backends"})
        assert signed_in.headers["location"] == "/backends"
        cookie = signed_in.headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower() and PASSWORD not in cookie
        assert browser.get("/").status_code == 200
        token = browser.cookies["smolvlm_lens_login"]
        with httpx.stream(
            "GET", f"{app.url}/_stcore/stream", headers={**UPGRADE, "Cookie": f"smolvlm_lens_login={token}"}
        ) as r:
            assert r.status_code == 101
        assert browser.get("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.get("/logout").headers["location"] == "/login"
        browser.cookies.set("smolvlm_lens_login", token)
        assert browser.get("/").status_code == 401
    log = app.log.read_text()
    assert "login of 'anna' from 127.0.0.1 failed" in log and PASSWORD not in log and token not in log


def test_the_login_form_is_careful(app: App) -> None:
    with app.client() as browser:
        form = {"name": "anna", "password": PASSWORD}
        for wanted in (
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/login",
            "javascript:x",
            "/a\r\nb: c",
        ):
            browser.cookies.clear()
            assert browser.post("/login", data={**form, "next": wanted}).headers["location"] == "/", wanted
        assert browser.post("/login", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
        assert browser.post("/login", content=b"a=" + b"x" * 100_000).status_code == 413
        browser.cookies.clear()
        shown = browser.post(
            "/login", data={"name": '"><script>alert(1)</script>', "password": "x", "next": '/"><b>'}
        ).text
        assert "<script>" not in shown and "<b>" not in shown


def test_uploads_are_limited_before_they_begin(app: App) -> None:
    token = app.client("bob").cookies["smolvlm_lens_login"]

    def status(**headers: str) -> int:
        """Of an upload of which only the headers are sent."""
        connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=20)
        connection.putrequest("PUT", "/_stcore/upload_file/session/file")
        for name, value in {"Cookie": f"smolvlm_lens_login={token}", **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        return connection.getresponse().status

    Users(app.data).set_limits(disk_bytes=2**20)
    try:
        assert status(Content_Length=str(2**30)) == 413
        assert status(Transfer_Encoding="chunked") == 411
        assert status(Content_Length="0") not in (401, 411, 413, 503), "Streamlit answers this one"
    finally:
        Users(app.data).set_limits(disk_bytes=5 * 2**30)


def test_nobody_gets_the_session_of_another_user(app: App) -> None:
    """Its widgets and fragments hold what its user saw. A browser that comes back names it, with whatever cookie it has then."""
    anna, bob = (dict(app.client(name).cookies) for name in ("anna", "bob"))
    with RawSession(app.url, anna) as first:
        assert ":material/person: Signed in as anna" in first.run()
    with RawSession(app.url, bob, back_to=first.id) as other:
        assert ":material/person: Signed in as bob" in other.run() and other.id != first.id
    with RawSession(app.url, anna, back_to=first.id) as again:
        again.run()
        assert again.id == first.id, "her own is there again"


def test_pictures_are_for_the_user_who_stored_them(app: App) -> None:
    """Also where another user knows their SHA-256. Nothing but pictures is sent, and nothing outside of the store."""
    store = Store(app.data / "users" / "bob")
    picture, clip = GALLERY / "1-red-circle.png", GALLERY / "circle-moves-right.mp4"
    shown = store.media.add(picture.read_bytes(), picture.name, "image/png")
    moving = store.media.add(clip.read_bytes(), clip.name, "video/mp4")
    text = store.media.add(b"<script>alert(1)</script>", "page.html", "text/html")
    bob, anna = app.client("bob"), app.client("anna")
    for kind in ("picture", "thumbnail"):
        sent = bob.get(f"/{kind}/{shown}")
        assert sent.status_code == 200 and sent.headers["content-type"] in ("image/png", "image/jpeg")
        assert "default-src 'none'" in sent.headers["content-security-policy"]
        assert sent.headers["x-content-type-options"] == "nosniff" and "private" in sent.headers["cache-control"]
        assert sent.headers["cross-origin-resource-policy"] == "same-origin" and sent.headers["vary"] == "Cookie"
        assert anna.get(f"/{kind}/{shown}").status_code == 404
        for other in (moving, text, "0" * 64, shown[:-1], shown.upper(), f"..%2F{shown}", "%00"):
            answer = bob.get(f"/{kind}/{other}")
            assert answer.status_code in (400, 404) and b"script" not in answer.content, other
        assert bob.post(f"/{kind}/{shown}").status_code == 405
    assert bob.get(f"/picture/{shown}").content == picture.read_bytes()
    store.discard({shown})
    assert bob.get(f"/picture/{shown}").status_code == 404, "deleted: no copy is left"


def test_frames_of_timelines_are_for_the_user_who_made_them(app: App, tmp_path: Path) -> None:
    """The clip of a timeline that was made on the command line is played from where it is, for this user only."""
    film = tmp_path / "film.mp4"
    write_numbered(film, 30)
    clip = clip_of_file(film)
    request = Request(entry="smolvlm-shapes")
    timeline = Timeline(identity="of-bob", kind="clip", clip=clip, request=request, created=1.0)
    store = TimelineStore(app.data / "users" / "bob")
    store.add(timeline)
    store.put_segments("of-bob", [Piece(0.0, 2.0)])
    segment, thumbnail = store.segments("of-bob")[0].identity, jpeg_bytes(drawn("red", size=64))
    store.save_frames(segment, [KeptFrame(ref=FrameRef(1.0, 15, "0" * 64), thumbnail=thumbnail)])
    bob, anna = app.client("bob"), app.client("anna")
    small, whole, played = f"/segment/{segment}/0/small", f"/segment/{segment}/0/whole", f"/clip/{clip.sha256}"
    assert bob.get(small).content == thumbnail
    with Image.open(io.BytesIO(bob.get(whole).content)) as shown:
        assert shown.size == (160, 96)
    assert bob.get(played).content == film.read_bytes()
    for path in (small, whole, played):
        assert "private" in bob.get(path).headers.get("cache-control", "private")
        assert anna.get(path).status_code == 404, path
    for path in (f"/segment/{segment}/1/small", f"/segment/{segment}/0/large", f"/segment/{10**30}/0/small"):
        assert bob.get(path).status_code == 404, path
    store.delete("of-bob")
    for path in (small, whole, played):
        assert bob.get(path).status_code == 404, path


def test_forged_widgets_give_no_rights(app: App) -> None:
    anna, bob = (dict(app.client(name).cookies) for name in ("anna", "bob"))
    with RawSession(app.url, anna) as admin, RawSession(app.url, bob) as user:
        admin.run(), user.run()
        assert "Usage" in admin.pages and "Usage" not in user.pages
        assert "How much each user stores" not in " ".join(user.run(admin.pages["Usage"]))
        admin.run("Backends")
        forged = [WidgetState(id=admin.widgets["Address"].id, string_value="http://127.0.0.1:9")]
        forged.append(WidgetState(id=admin.widgets["Add"].id, trigger_value=True))
        for _ in range(2):
            assert "Address" not in user.run("Backends", states=forged)
        assert not (app.data / "backends.json").exists()


def test_rights_that_were_taken_away_end_on_an_open_page(app: App) -> None:
    """A callback runs before the page: its widget was drawn while the user was an admin."""
    users = Users(app.data)
    users.put("carl", password=PASSWORD, is_admin=True)
    with RawSession(app.url, dict(app.client("carl").cookies)) as session:
        session.run()
        folder = WidgetState(id=session.widgets["Checkpoint folder"].id, string_value=str(BUNDLED_CHECKPOINT))
        users.put("carl", is_admin=False)
        assert "Only admins of this app can do this." in " ".join(session.run(states=[folder]))
    assert not (app.data / "backends.json").exists()


def test_a_page_says_that_the_users_cannot_be_read(app: App) -> None:
    path = app.data / "users.json"
    contents = path.read_text()
    with RawSession(app.url, dict(app.client("bob").cookies)) as session:
        session.run()
        for damaged in ("{", None):
            try:
                path.write_text(damaged) if damaged else path.unlink()
                texts = " ".join(session.run())
            finally:
                path.write_text(contents)
                path.chmod(0o600)
            assert ("users.json cannot be read" if damaged else "You are signed out") in texts
            assert "Signed in as bob" not in texts
        assert "Signed in as bob" in " ".join(session.run())


def test_guessing_is_stopped(app: App) -> None:
    """Last for its address: the other tests sign in from the other one."""
    url = app.url.replace("localhost", "127.0.0.1")
    address = {"X-Forwarded-For": "203.0.113.9"}  # believed from a proxy on this machine only
    codes = [
        httpx.post(
            f"{url}/login", data={"name": "bob", "password": f"{n}"}, headers=address, trust_env=False
        ).status_code
        for n in range(7)
    ]
    assert codes == [401] * 5 + [429] * 2
    assert app.client("bob").get("/").status_code == 200, "others still sign in"


def test_an_app_of_this_machine_asks_for_a_login_where_a_proxy_forwards_to_it(tmp_path: Path) -> None:
    server, app = start(tmp_path / "data")
    try:
        with app.client() as browser:
            assert browser.get("/").status_code == 200
            assert browser.get("/login").headers["location"] == "/"
            through = browser.get("/", headers={"X-Forwarded-For": "203.0.113.9"})
            assert through.status_code == 403 and "needs a login" in through.text and "users add" in through.text
            for path in ("/_stcore/agent/interact", "/_stcore/agent/mcp"):
                assert browser.post(path, json={}).status_code in (400, 403), "Streamlit's agent API is off"
            preflight = browser.options("/_stcore/host-config", headers={"Origin": "http://evil.example"})
            assert preflight.status_code == 403 and "access-control-allow-origin" not in preflight.headers
    finally:
        stop(server)


def test_a_damaged_key_of_the_logins_is_told(tmp_path: Path) -> None:
    Users(tmp_path / "data").put("everyone", password=PASSWORD)
    (tmp_path / "data" / "login.key").write_text("x")
    server, app = start(tmp_path / "data", SMOLVLM_LENS_LOGIN="always")
    try:
        for browser in (app.client(), app.client()):
            browser.cookies.set("smolvlm_lens_login", "x")
            for answer in (browser.post("/login", data={"password": PASSWORD}), browser.get("/login")):
                assert answer.status_code == 503 and "login.key is damaged. Remove it" in answer.text
            assert browser.get("/").status_code == 403
        assert "Traceback" not in app.log.read_text()
    finally:
        stop(server)


def test_a_run_without_its_browser_has_no_rights(own_data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers, which tell that a request came through a proxy, go with the connection. The run may go on for a moment."""
    gone = SimpleNamespace(get_client=lambda session: None)
    monkeypatch.setattr(current, "get_instance", lambda: gone)
    for session, user, shared in (("new", None, True), ("bob's", "bob", True), ("of this machine", "", False)):
        if user is not None:
            monkeypatch.setitem(current._sessions, session, user)
        monkeypatch.setattr(current, "get_script_run_ctx", lambda name=session: SimpleNamespace(session_id=name))
        assert current.is_shared() is shared, session


def test_always_asks_for_a_login_on_this_machine_too(tmp_path: Path) -> None:
    Users(tmp_path / "data").put("everyone", password=PASSWORD)
    server, app = start(tmp_path / "data", SMOLVLM_LENS_LOGIN="always")
    try:
        with app.client() as browser:
            assert browser.get("/").status_code == 401
            assert "Name" not in browser.get("/login").text, "one password for all needs no name"
            assert browser.post("/login", data={"password": PASSWORD}).status_code == 303
            assert browser.get("/").status_code == 200
    finally:
        stop(server)


@pytest.fixture
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: install it with your package manager (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        launched = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def sign_in(browser: Any, app: App, name: str, path: str = "") -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{app.url}/{path}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text(f"Signed in as {name}").wait_for()
    return page


def test_users_see_only_what_is_theirs(app: App, browser: Any) -> None:
    anna, bob = sign_in(browser, app, "anna", "video_chat"), sign_in(browser, app, "bob", "video_chat")
    assert anna.url.endswith("/video_chat"), "the login leads back to the page that was asked for"
    for page, asked in ((anna, "Which way does the circle move?"), (bob, "What color is the circle?")):
        page.get_by_role("button", name=asked).click()
        page.get_by_text("What the model was given").wait_for()
    for page, own, other in ((anna, "Which way", "What color"), (bob, "What color", "Which way")):
        page.reload()
        page.get_by_role("button", name=re.compile(own)).first.wait_for()
        assert page.get_by_text(other).count() == 0
    anna.goto(f"{app.url}/")
    anna.get_by_role("button", name="A question from before").wait_for()
    bob.goto(f"{app.url}/")
    bob.get_by_text("Signed in as bob").wait_for()
    bob.get_by_text("Ready").first.wait_for()
    assert bob.get_by_text("A question from before").count() == 0


def test_only_admins_name_paths_change_backends_and_see_usage(app: App, browser: Any) -> None:
    anna, bob = sign_in(browser, app, "anna", "usage"), sign_in(browser, app, "bob", "backends")
    anna.get_by_text("Each user:").wait_for()
    bob.get_by_text("Only admins of this app can add and remove backends.").wait_for()
    assert bob.get_by_text("Usage", exact=True).count() == 0
    bob.get_by_role("link", name="Batch").click()
    bob.get_by_role("button", name="Try it with the samples").click()
    bob.get_by_text(re.compile(r"\d+ files in Samples")).wait_for()
    assert bob.get_by_label("Folders and files, one per line").count() == 0
    count = len([path for path in GALLERY.iterdir() if path.suffix in (".png", ".mp4")])
    assert len(list((app.data / "users" / "bob" / "uploads" / "Samples").iterdir())) == count
    bob.get_by_text("Settings").click()
    bob.get_by_text("Longest answer").wait_for()
    assert bob.get_by_label("Checkpoint folder").count() == 0


def test_a_page_that_stays_open_after_signing_out_shows_nothing_more(app: App, browser: Any) -> None:
    page = sign_in(browser, app, "bob")
    other = page.context.new_page()
    other.goto(app.url)
    other.get_by_text("Sign out").click()
    other.get_by_role("button", name="Sign in").wait_for()
    page.get_by_role("link", name="Compare").click()
    page.get_by_text("You are signed out").wait_for()


class Provider(ThreadingHTTPServer):
    """A small OpenID Connect provider. Whoever comes is `claims`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Provider)
        self.claims: dict[str, object] = {}
        self.nonces: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Provider(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url, query = self.server.url, parse_qs(urlsplit(self.path).query)
        if self.path.startswith("/authorize"):
            code = os.urandom(8).hex()
            self.server.nonces[code] = query["nonce"][0]
            self.send_response(302)
            back = urlencode({"code": code, "state": query["state"][0]})
            self.send_header("Location", f"{query['redirect_uri'][0]}?{back}")
            self.end_headers()
            return
        self._send(
            {"keys": [KEY.as_dict(private=False)]}
            if self.path.startswith("/jwks")
            else {
                "issuer": url,
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "jwks_uri": f"{url}/jwks",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    def do_POST(self) -> None:
        from joserfc import jwt

        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        nonce, now = self.server.nonces.pop(form["code"][0]), int(time.time())
        claims = {"iss": self.server.url, "aud": "lens", "sub": "1", "iat": now, "exp": now + 300, "nonce": nonce}
        token = jwt.encode({"alg": "RS256", "kid": KEY.kid}, {**claims, **self.server.claims}, KEY)
        self._send({"access_token": "x", "token_type": "Bearer", "id_token": token, "expires_in": 300})

    def _send(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_an_identity_provider_lets_in_those_who_are_listed(tmp_path: Path) -> None:
    pytest.importorskip("authlib", reason="Authlib is not installed: run pip install -r requirements-dev.txt")
    from joserfc.jwk import RSAKey

    global KEY
    KEY = RSAKey.generate_key(2048, {"kid": "1"})
    provider = Provider()
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    Users(tmp_path / "data").put("@example.org")
    port = free_port()
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://localhost:{port}/oauth2callback"\ncookie_secret = "{os.urandom(32).hex()}"\n'
        f'client_id = "lens"\nclient_secret = "{"s" * 40}"\n'
        f'server_metadata_url = "{provider.url}/.well-known/openid-configuration"\n'
    )
    server, app = start(tmp_path / "data", "--secrets.files", str(secrets), port=port, SMOLVLM_LENS_LOGIN="always")
    try:
        for claims, status in (
            ({"email": "eve@example.org", "email_verified": True}, 200),
            ({"email": "Eve@Example.org", "email_verified": True}, 200),
            ({"email": "eve@example.org", "email_verified": False}, 401),
            ({"email": "eve@example.org"}, 401),
            ({"email": "mallory@example.com", "email_verified": True}, 401),
            ({}, 401),
        ):
            provider.claims = claims
            with httpx.Client(base_url=app.url, trust_env=False, timeout=30, follow_redirects=True) as browser:
                page = browser.get("/login").text
                assert 'href="/login?provider=default"' in page and 'type="password"' not in page
                last = browser.get("/login", params={"provider": "default"}, headers=HTML)
                assert "_streamlit_user" in browser.cookies
                assert browser.get("/", headers={"Accept": "*/*"}).status_code == status, claims
                if status == 401 and claims.get("email_verified"):
                    assert "mallory@example.com" in last.text, "says with which account one is signed in"
                cookie = browser.cookies["_streamlit_user"]
                browser.get("/logout", follow_redirects=False)
                replayed = {"Cookie": f"_streamlit_user={cookie}"}
                assert httpx.get(app.url, headers=replayed, trust_env=False).status_code == 401, "signed out for good"
                forged = cookie[:-3] + "xyz"
            assert (
                httpx.get(app.url, headers={"Cookie": f"_streamlit_user={forged}"}, trust_env=False).status_code == 401
            )
    finally:
        stop(server)
        provider.shutdown()

"""The app in a real Chromium, for behavior that AppTest cannot test."""

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
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from smolvlm_core.paths import GALLERY
from tests.clips import number_in, remuxed, write_numbered
from tests.conftest import Ggufs, drawn
from tests.llama import needs_llama_cpp

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: run pip install -r requirements-dev.txt"
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: install it with your package manager (apt install chromium)"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the app, started on a free port with its own data folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "SMOLVLM_LENS_DATA": str(tmp_path_factory.mktemp("data")), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://localhost:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
            break
        except OSError:
            time.sleep(0.1)
    yield url
    server.terminate()
    server.wait(20)


@pytest.fixture
def page(address: str) -> Iterator[playwright.Page]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.get_by_role("heading", name="Image chat").wait_for()
        yield page
        browser.close()


def ask(page: playwright.Page, question: str) -> None:
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.keyboard.press("Enter")


def downloaded(page: playwright.Page, label: str) -> playwright.Download:
    """What a download button gives. Pressed again where nothing comes: a press during a run of the page is lost."""
    button = page.get_by_role("button", name=label, exact=True)
    for _ in range(5):
        try:
            with page.expect_download(timeout=15_000) as download:
                button.click()
            return download.value
        except playwright.TimeoutError:
            continue
    raise AssertionError(f"{label} downloads nothing")


def finished(page: playwright.Page, count: int = 1) -> None:
    playwright.expect(page.get_by_text("What the model was given")).to_have_count(count, timeout=60_000)


def answers(page: playwright.Page) -> list[str]:
    """The answers, read in one step because the page may be rerunning."""
    script = "turns => turns.map(t => t.querySelector('[data-testid=stMarkdownContainer]')?.innerText ?? '')"
    return list(page.get_by_test_id("stChatMessage").evaluate_all(script))[1::2]


def samples(page: playwright.Page) -> playwright.Locator:
    """The buttons of all samples. Waits for all of them, because they appear one by one in any order."""
    buttons = page.get_by_role("button", name="Use", exact=True)
    playwright.expect(buttons).to_have_count(len(list(GALLERY.glob("*.png"))), timeout=60_000)
    return buttons


def test_image_chat_answers_and_survives_a_reload(page: playwright.Page, tmp_path: Path) -> None:
    drawn("red").save(tmp_path / "red.png")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(tmp_path / "red.png")
    page.get_by_text("(180 image,").wait_for()
    ask(page, "What color is the circle?")
    finished(page)
    assert answers(page)[0].startswith("Red.")
    ask(page, "What shape is in the image?")
    finished(page, 2)
    assert answers(page)[1].startswith("Circle.")
    page.reload()
    page.get_by_role("button", name="What color is the circle?").first.click()
    finished(page, 2)
    assert answers(page)[0].startswith("Red."), "the answer is still there after a reload"


def test_a_conversation_is_renamed_exported_and_deleted(page: playwright.Page) -> None:
    """Its menu is drawn only once it is open."""
    ask(page, "A question to rename")
    finished(page)
    page.locator("[class*=st-key-menu_] button").first.click()
    page.get_by_label("Name", exact=True).fill("Renamed here")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Renamed here").wait_for()
    download = downloaded(page, "Markdown")
    assert "A question to rename" in Path(download.path()).read_text("utf-8")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    playwright.expect(page.get_by_role("button", name="Renamed here")).to_have_count(0)


def test_an_idle_page_receives_no_messages(page: playwright.Page, address: str) -> None:
    """Every rerun costs server time, so idle tabs must not cause any."""
    received: list[object] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(frame)))
    for path, text in (
        ("", "Ready"),
        ("backends", "in this app"),
        ("batch", "Try it with the samples"),
        ("live", "Start"),
    ):
        page.goto(f"{address}/{path}")
        page.get_by_text(text).first.wait_for()
        page.wait_for_timeout(2500)  # wait for the last polls
        received.clear()
        page.wait_for_timeout(4000)
        assert received == [], f"{len(received)} messages on an idle page"


def test_requests_for_other_hosts_or_from_other_sites_are_refused(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])

    def status(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("localhost", port, timeout=10)
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status

    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = base64.b64encode(os.urandom(16)).decode()
    own, evil = f"localhost:{port}", f"evil.example:{port}"
    for path in ("/", "/backends", "/_stcore/health", f"/clip/{'0' * 64}", f"/picture/{'0' * 64}"):
        assert status(path, Host=own) != 403
        assert status(path, Host=own, Origin=address) != 403
        assert status(path, Host=evil) == 403
        assert status(path, Host=own, Origin="http://evil.example") == 403
    assert status("/_stcore/stream", Host=own, Origin=address, **upgrade) == 101
    assert status("/_stcore/stream", Host=evil, Origin=f"http://{evil}", **upgrade) == 403
    assert status("/_stcore/stream", Host=own, Origin="http://evil.example", **upgrade) == 403


def test_video_chat_plays_a_clip_and_answers(page: playwright.Page) -> None:
    page.get_by_role("link", name="Video chat").click()
    page.get_by_role("heading", name="Video chat").wait_for()
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(
        ROOT / "assets" / "gallery" / "circle-moves-right.mp4"
    )
    page.get_by_text("(288 image,").wait_for()
    assert (
        page.locator("video").evaluate(
            "v => new Promise(done => v.readyState ? done(v.duration) : v.onloadedmetadata = () => done(v.duration))"
        )
        > 3.9
    )
    ask(page, "In which direction does the circle move?")
    finished(page)
    assert answers(page)[0].startswith("To the right.")


def shown_number(page: playwright.Page) -> int | None:
    """The number drawn into the frame that the player shows."""
    script = """v => new Promise(done => {
        const draw = () => {
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [v.videoWidth, v.videoHeight];
            canvas.getContext("2d").drawImage(v, 0, 0);
            done(canvas.toDataURL("image/png"));
        };
        v.seeking ? v.addEventListener("seeked", draw, {once: true}) : draw();
    })"""
    return number_of(page.locator("video").evaluate(script))


def number_of(data_url: str) -> int | None:
    return number_in(Image.open(io.BytesIO(base64.b64decode(data_url.split(",")[1]))))


def test_the_frame_strip_and_the_player_stay_in_sync(page: playwright.Page, tmp_path: Path) -> None:
    """The video stream of this clip starts at 5 s. The strip and the player must still show the same frame."""
    write_numbered(tmp_path / "source.mp4")
    remuxed(tmp_path / "source.mp4", tmp_path / "late.mp4", 5.0)
    page.get_by_role("link", name="Video chat").click()
    page.get_by_role("heading", name="Video chat").wait_for()
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(tmp_path / "late.mp4")
    frames = page.locator(".strip li")
    frames.nth(5).wait_for()
    page.locator("video").evaluate(
        "v => new Promise(done => v.readyState > 1 ? done() : v.onloadeddata = () => done())"
    )
    for at in (1, 4):
        frames.nth(at).locator(".go").click()
        number = number_of(str(frames.nth(at).locator("img").get_attribute("src")))
        assert shown_number(page) == number and f"#{number}" in frames.nth(at).inner_text()
    before = frames.count()
    page.locator("video").evaluate("v => new Promise(done => { v.onseeked = () => done(); v.currentTime = 5 + 0.33; })")
    page.get_by_role("button", name="Add the frame at").click()
    page.get_by_text("0:00.30 · #3").wait_for()
    assert frames.count() == before + 1
    frames.first.locator(".out").click()
    page.get_by_text("0:00.00 · #0").wait_for(state="detached")
    assert frames.count() == before
    page.get_by_text("Evenly spaced").click()
    page.get_by_text("0:00.00 · #0").wait_for()


def test_the_stop_button_stops_an_answer(page: playwright.Page, tmp_path: Path) -> None:
    """The answer takes less than a second, so a script in the page clicks as soon as the first words appear. On a busy machine it
    can come to its end before: then it is asked again."""
    names = []
    for i, color in enumerate(("red", "blue", "green")):
        names.append(tmp_path / f"{i}.png")
        drawn(color).save(names[-1])

    def is_stopped() -> bool:
        page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(names)
        page.get_by_text("(540 image,").wait_for()
        page.evaluate("""() => new MutationObserver((_, observer) => {
            const stop = document.querySelector("[class*=st-key-stop_] button");
            if (stop && document.body.textContent.includes("▍")) { observer.disconnect(); stop.click(); }
        }).observe(document.body, {childList: true, subtree: true, characterData: true})""")
        ask(page, "Describe each image.")
        finished(page)
        return page.get_by_text("Stopped.").count() > 0

    for _ in range(5):
        if is_stopped():
            break
        page.get_by_role("button", name="New conversation").click()
        playwright.expect(page.get_by_test_id("stChatMessage")).to_have_count(0)
    page.get_by_text("Stopped.").wait_for()
    text = answers(page)[0]
    assert "Image 1".startswith(text[:7]) and "Image 3" not in text and "▍" not in text
    page.get_by_role("button", name="Answer again").click()
    page.get_by_text("Stopped.").wait_for(state="detached")
    page.get_by_text("Image 3").wait_for()
    page.get_by_text("▍").wait_for(state="detached")
    finished(page)
    assert page.get_by_text("Stopped.").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_screen(page: playwright.Page, address: str, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    for name, path in (("Image chat", ""), ("Video chat", "video_chat"), ("Batch", "batch")):
        page.goto(f"{address}/{path}")
        page.get_by_role("heading", name=name).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_by_test_id("stException").count() == 0


@needs_llama_cpp
def test_a_checkpoint_is_converted_and_checked_and_answers_with_llama_cpp(
    page: playwright.Page, tmp_path: Path
) -> None:
    page.get_by_role("link", name="Backends").click()
    page.get_by_role("heading", name="Backends", exact=True).wait_for()
    page.get_by_role("textbox", name="Save to").fill(str(tmp_path / "gguf"))
    page.get_by_role("button", name="Convert", exact=True).click()
    page.get_by_text("Converted and added: smolvlm-shapes-F16").wait_for(timeout=120_000)
    row = page.locator("[class*='st-key-row_gguf']", has_text="smolvlm-shapes-F16")
    playwright.expect(row.get_by_text("Sees")).to_be_visible(timeout=120_000)
    page.get_by_role("link", name="Image chat").click()
    page.get_by_role("heading", name="Image chat").wait_for()
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="smolvlm-shapes-F16 · llama.cpp").click()
    page.locator(".st-key-model_state", has_text="Ready").wait_for()
    drawn("blue").save(tmp_path / "blue.png")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(tmp_path / "blue.png")
    page.get_by_text("(180 image,").wait_for()
    ask(page, "What color is the circle?")
    finished(page)
    assert answers(page)[0].startswith("Blue.")


@needs_llama_cpp
def test_comparing_bf16_fp32_and_llama_cpp(page: playwright.Page, ggufs: Ggufs) -> None:
    page.get_by_role("link", name="Backends").click()
    page.get_by_role("tab", name="GGUF files").click()
    page.get_by_role("textbox", name="Text model").fill(str(ggufs.quantized))
    page.get_by_role("button", name="Add", exact=True).first.click()
    page.locator("[class*='st-key-row_gguf']", has_text=ggufs.quantized.stem).wait_for()
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("heading", name="Compare").wait_for()
    page.get_by_role("combobox", name="Backends").click()
    page.get_by_role("option", name=f"{ggufs.quantized.stem} · llama.cpp").click()
    page.keyboard.press("Escape")
    samples(page).first.click()
    page.get_by_text("1-red-circle.png").wait_for()
    page.get_by_label("Questions, one per line").fill("What color is the circle?\nWhat shape is it?")
    page.get_by_role("button", name="Compare").click()
    playwright.expect(page.get_by_text("Red.", exact=True)).to_have_count(3, timeout=120_000)
    playwright.expect(page.get_by_text("Circle.", exact=True)).to_have_count(3, timeout=120_000)


def test_no_button_moves_when_the_samples_load(page: playwright.Page, address: str) -> None:
    blocked: list[playwright.Route] = []
    page.route("**/thumbnail/*", lambda route: blocked.append(route))
    page.goto(f"{address}/compare", wait_until="commit")
    page.get_by_text("64MB per file").wait_for()
    button = samples(page).first
    before = button.bounding_box()
    assert blocked
    for route in blocked:
        route.continue_()
    page.locator(".strip img").evaluate_all("images => Promise.all(images.map(image => image.decode()))")
    assert button.bounding_box() == before


def test_a_blind_comparison_of_two_backends(page: playwright.Page, address: str) -> None:
    page.goto(
        f"{address}/compare"
    )  # no link: the previous page has buttons with the same name, which stay for a moment
    page.get_by_role("heading", name="Compare").wait_for()
    samples(page).first.click()
    page.get_by_text("1-red-circle.png").wait_for()
    page.get_by_label("Questions, one per line").fill("What color is the circle?")
    page.get_by_text("Hide the names until I have voted").click()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Answer A").wait_for()
    page.wait_for_url("**comparison=**")
    page.reload()
    playwright.expect(page.get_by_text("Red.")).to_have_count(2, timeout=60_000)
    playwright.expect(page.get_by_text("Answer A")).to_be_visible()
    playwright.expect(page.get_by_text("The answers below are about:")).to_be_visible()
    page.get_by_role("button", name="Prefer").first.click()
    playwright.expect(page.locator(".stMarkdownBadge", has_text="Preferred")).to_be_visible()
    playwright.expect(page.get_by_text("Votes so far: 1")).to_be_visible()
    download = downloaded(page, "HTML report")
    report = download.path().read_text()
    assert "Red." in report and "transformers fp32" in report and "data:image/png" in report


def click_row(page: playwright.Page, number: int, name: str) -> None:
    """The table is a canvas with its cells as text inside. Its header is 35 px high, as is each row."""
    page.get_by_test_id("stDataFrame").locator(f"[role=gridcell]:has-text('{name}')").wait_for(state="attached")
    box = page.get_by_test_id("stDataFrame").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 120, box["y"] + 35 * number + 17)


def test_a_batch_of_the_samples_is_asked_edited_and_exported(page: playwright.Page, address: str) -> None:
    page.goto(f"{address}/batch")
    page.get_by_role("button", name="Try it with the samples").click()
    page.get_by_text("6 items (1 clip).").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Last run: 6 answered").wait_for()
    playwright.expect(page).to_have_url(re.compile("batch=gallery-"))
    page.reload()
    page.get_by_text("Last run: 6 answered").wait_for()
    page.get_by_role("textbox", name="Search").fill("red circle in")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 6 rows").wait_for()
    click_row(page, 1, "1-red-circle.png")
    answer = page.get_by_role("textbox", name="Answer")
    playwright.expect(answer).to_have_value("A large red circle in the center.")
    playwright.expect(page.locator(".strip li")).to_have_count(1)
    answer.fill("A red disc.")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The model's own answer").wait_for()
    page.get_by_text("Edited 1").wait_for()
    download = downloaded(page, "JSONL")
    records = [json.loads(line) for line in download.path().read_text().splitlines()]
    edited = [record for record in records if record["edited"]]
    assert len(records) == 6 and [(r["answer"], r["edited"]) for r in edited] == [
        ("A large red circle in the center.", "A red disc.")
    ]
    download = downloaded(page, "Text files (zip)")
    with zipfile.ZipFile(download.path()) as archive:
        assert archive.read("1-red-circle.txt") == b"A red disc.\n" and len(archive.namelist()) == 6

"""The Live page in a real Chromium, whose fake camera shows a drawn clip: the alert comes at the right second."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from smolvlm_core import media
from tests.conftest import drawn
from tests.test_browser import CHROMIUM, FLAGS, address, playwright, pytestmark  # noqa: F401
from tests.test_live import write_shapes

expect = playwright.expect
SECONDS = 5.0  # of each color
ALERT = "Is there a red circle?"


@pytest.fixture(scope="module")
def camera_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera shows, again and again: a blue circle, a red one. YUV4MPEG2, whose header says how fast to show it."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H320 F10:1 Ip A1:1 C420jpeg\n")
        for color in ("blue", "red"):
            frame = av.VideoFrame.from_image(drawn(color, size=320)).reformat(format="yuv420p")
            planes = b"".join(bytes(plane) for plane in frame.planes)
            for _ in range(round(10 * SECONDS)):
                file.write(b"FRAME\n" + planes)
    return path


# Notes in window.reds when the player's picture turns red, in seconds. In the middle of the picture is the circle.
WATCH = """video => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
  canvas.width = canvas.height = 9;
  window.reds = [];
  let was = true;
  setInterval(() => {
    if (video.readyState < 2) return;
    pen.drawImage(video, 0, 0, 9, 9);
    const [red, , blue] = pen.getImageData(4, 4, 1, 1).data;
    if (red > blue && !was) window.reds.push(performance.now() / 1000);
    was = red > blue;
  }, 30);
}"""


@pytest.fixture
def page(address: str, camera_clip: Path) -> Iterator[playwright.Page]:
    fake = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera_clip}"]
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *fake])
        context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
        page = context.new_page()
        page.set_default_timeout(60_000)
        open_live(page, address)
        yield page
        stop = page.get_by_role("button", name="Stop", exact=True)
        if stop.count():  # no session is left for the next test
            stop.click()
            page.get_by_role("button", name="New session").wait_for()
        browser.close()


def open_live(page: playwright.Page, address: str) -> None:
    page.goto(f"{address}/live")
    page.get_by_role("heading", name="Live", exact=True).wait_for()
    page.get_by_text(
        "Ready", exact=True
    ).wait_for()  # so that the first frame is not asked about before the model is loaded


def start(page: playwright.Page, *, alert: bool = True) -> None:
    page.get_by_role("textbox", name="Question about each frame").fill("")
    page.keyboard.press("Tab")
    if alert:
        page.get_by_role("button", name=ALERT).click()
        expect(page.get_by_role("textbox", name="Tell me when the answer is yes")).to_have_value(ALERT)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Stop", exact=True).wait_for()


def seconds_of(text: str) -> float:
    found = re.search(r"(\d+):(\d\d\.\d)", text)
    assert found, text
    return 60 * int(found[1]) + float(found[2])


def test_the_alert_comes_at_the_right_second(page: playwright.Page, address: str) -> None:
    start(page)
    alerts, answers = page.get_by_role("list", name="Alerts"), page.get_by_role("list", name="Answers")
    expect(page.locator("video")).to_be_visible()
    page.locator("video").evaluate(WATCH)
    expect(page.get_by_test_id("stToast").first).to_contain_text(ALERT, timeout=90_000)
    alerts.get_by_role("listitem").nth(2).wait_for(timeout=90_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="New session").wait_for()
    times = sorted(seconds_of(text) for text in alerts.get_by_role("listitem").all_inner_texts())
    turned_red = page.evaluate("window.reds")

    # As long after the alert before as the picture turned red after it did before. How late the first red frame is asked about depends
    # on how fast the model is: no later than the slowest answer took.
    slowest = max(
        float(re.findall(r"([\d.]+) s from frame", text)[0]) for text in answers.locator(".facts").all_inner_texts()
    )
    assert len(turned_red) >= 2
    assert abs((times[-1] - times[-2]) - (turned_red[-1] - turned_red[-2])) <= slowest + 0.4

    # Each frame with a red circle was recognized, and no other one.
    for item in answers.get_by_role("listitem").all():
        color = item.locator("img").evaluate(
            "i => { const c = document.createElement('canvas'), p = c.getContext('2d'); c.width = c.height = 9;"
            "p.drawImage(i, 0, 0, 9, 9); const [r, g, b] = p.getImageData(4, 4, 1, 1).data; return r > b ? 'red' : 'blue' }"
        )
        assert item.inner_text().split(ALERT)[1].strip().startswith("Yes" if color == "red" else "No")
    expect(alerts.get_by_role("button").first).to_be_visible()
    alerts.get_by_role("button").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("320 × 320 px")
    page.keyboard.press("Escape")

    page.reload()  # the log is on disk
    page.get_by_role("button", name="Start", exact=True).wait_for()
    page.get_by_role("combobox", name="Session").click()
    page.get_by_role("option", name=re.compile("Camera · ")).first.click()
    expect(page.get_by_role("list", name="Alerts").get_by_role("listitem")).to_have_count(len(times))
    page.get_by_role("button", name="Start", exact=True).click()  # a new session closes the one that is open
    page.get_by_role("button", name="Stop", exact=True).wait_for()
    expect(page.get_by_role("combobox", name="Session")).to_have_value("Choose one")
    expect(page.get_by_role("button", name="Delete", exact=True)).to_have_count(0)


def test_a_session_of_the_camera_waits_while_its_page_is_closed(page: playwright.Page, address: str) -> None:
    start(page)
    page.get_by_role("list", name="Answers").get_by_role("listitem").first.wait_for()
    page.get_by_role("link", name="Batch").click()
    page.get_by_role("heading", name="Batch").wait_for()
    page.wait_for_timeout(4_000)
    page.get_by_role("link", name="Live").click()
    expect(page.get_by_text("from Camera")).to_be_visible()
    expect(page.locator("video")).to_be_visible()  # this tab sends again
    expect(page.get_by_text("so nothing is asked")).to_have_count(0)

    page.reload()  # another tab, as far as the app knows
    page.get_by_text("so nothing is asked. The camera is off, or the page that sends it is closed.").wait_for()
    page.get_by_role("button", name="Use the camera of this tab").click()
    expect(page.locator("video")).to_be_visible()
    expect(page.get_by_text("so nothing is asked")).to_have_count(0)


def test_a_refused_camera_says_what_to_do(page: playwright.Page, address: str) -> None:
    page.context.clear_permissions()
    start(page, alert=True)
    page.get_by_text("The camera was not allowed. Allow it for this site").wait_for()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_clip_goes_on_while_another_page_is_open(page: playwright.Page, address: str, tmp_path: Path) -> None:
    page.get_by_text("Clip", exact=True).click()
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        write_shapes(tmp_path / "shapes.mp4", [("blue", 3), ("red", 3)])
    )
    page.get_by_text("shapes.mp4", exact=True).first.wait_for()
    start(page)
    page.get_by_role("img", name="The newest frame of the source").wait_for()
    page.get_by_role("link", name="Backends").click()
    page.get_by_role("heading", name="Backends", exact=True).wait_for()
    page.wait_for_timeout(6_000)
    page.get_by_role("link", name="Live").click()
    page.get_by_text("The clip ended.").wait_for()
    alert = page.get_by_role("list", name="Alerts").get_by_role("listitem")
    expect(alert).to_have_count(1)
    assert 3 <= seconds_of(alert.inner_text()) < 6


def test_frames_are_taken_from_their_sender_only(page: playwright.Page, address: str) -> None:
    port, jpeg = int(address.rsplit(":", 1)[1]), media.jpeg_bytes(drawn("red"))

    def status(path: str, body: bytes = jpeg, **headers: str) -> int:
        connection = http.client.HTTPConnection("localhost", port, timeout=10)
        connection.request("POST" if "frame" in path else "GET", path, body if "frame" in path else None, headers)
        return connection.getresponse().status

    assert status("/live/frame/none") == 410  # there is no session
    assert status("/live/newest") == 404
    with page.expect_request(re.compile("/live/frame/")) as sent:
        start(page)
    path = sent.value.url.removeprefix(address)
    assert status(path) == 200
    assert status(path, Origin="http://evil.example") == 403
    assert status("/live/frame/none") == 410
    assert status(path, b"GIF89a" + b"0" * 100) == 400
    assert status(path, b"\xff" * (2 * 2**20 + 1)) == 413
    until = time.monotonic() + 30
    while status("/live/newest") != 200:
        assert time.monotonic() < until

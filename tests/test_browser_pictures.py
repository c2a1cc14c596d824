"""Looking at pictures in a real Chromium: the viewer, hidden pictures, sent frames, and asking about a part."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from smolvlm_core.paths import GALLERY
from tests.conftest import drawn
from tests.test_browser import (  # noqa: F401
    address,
    answers,
    ask,
    finished,
    page,
    playwright,
    pytestmark,
    samples,
)

playwright.expect.set_options(timeout=60_000)  # other tests may keep the machine busy


@pytest.fixture
def two_shapes(tmp_path: Path) -> Path:
    """A red circle on the left, a blue square on the right: 1200 × 800 px."""
    image = Image.new("RGB", (1200, 800), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((100, 200, 500, 600), fill="red")
    draw.rectangle((750, 250, 1100, 600), fill="blue")
    image.save(tmp_path / "two shapes.png")
    return tmp_path / "two shapes.png"


def add(page: playwright.Page, *paths: Path) -> None:
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(paths)
    page.get_by_text("This question: about").first.wait_for()


def thumbnail(page: playwright.Page, name: str) -> playwright.Locator:
    return page.locator(".strip").get_by_role("button", name=name)


def viewer(page: playwright.Page) -> playwright.Locator:
    return page.get_by_role("dialog")


def loaded(page: playwright.Page) -> list[int]:
    """The width and height of the file that the viewer shows."""
    script = "async i => { while (!i.complete || !i.naturalWidth) await new Promise(requestAnimationFrame); return [i.naturalWidth, i.naturalHeight] }"
    return list(viewer(page).locator("img").evaluate(script))


def left_of(page: playwright.Page) -> float:
    box = viewer(page).locator("img").bounding_box()
    assert box is not None
    return float(box["x"])


def scale(page: playwright.Page) -> int:
    return int(viewer(page).locator(".scale").inner_text().rstrip("%"))


def test_a_click_opens_a_picture_whole(page: playwright.Page, two_shapes: Path, tmp_path: Path) -> None:
    """Waiting to be sent, and in the chat. The file on the page is a small one."""
    drawn("green").save(tmp_path / "green.png")
    add(page, two_shapes, tmp_path / "green.png")
    small = thumbnail(page, "two shapes.png").locator("img")
    assert small.evaluate("async i => { await i.decode(); return i.naturalWidth }") == 320
    thumbnail(page, "two shapes.png").click()
    playwright.expect(viewer(page)).to_contain_text("1200 × 800 px · 1 of 2")
    assert loaded(page) == [1200, 800]
    playwright.expect(viewer(page).get_by_role("button", name="Previous picture")).to_be_hidden()
    with page.expect_download() as download:
        viewer(page).get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "two shapes.png"
    assert Path(download.value.path()).read_bytes() == two_shapes.read_bytes()
    page.keyboard.press("ArrowRight")
    playwright.expect(viewer(page)).to_contain_text("green.png")
    playwright.expect(viewer(page)).to_contain_text("2 of 2")
    page.keyboard.press("ArrowRight")
    viewer(page).get_by_role("button", name="Previous picture").click()
    playwright.expect(viewer(page)).to_contain_text("1 of 2")
    page.keyboard.press("Escape")
    playwright.expect(viewer(page)).to_be_hidden()
    playwright.expect(thumbnail(page, "two shapes.png")).to_be_focused()
    ask(page, "What color is the circle?")
    finished(page)
    thumbnail(page, "green.png").first.press("Enter")
    playwright.expect(viewer(page)).to_contain_text("green.png")
    viewer(page).get_by_role("button", name="Close").click()
    page.get_by_text("What the model was given").click()
    thumbnail(page, "two shapes.png").last.click()
    playwright.expect(viewer(page)).to_contain_text("1 of 2")


def test_the_viewer_zooms_and_moves(page: playwright.Page, two_shapes: Path) -> None:
    add(page, two_shapes)
    thumbnail(page, "two shapes.png").click()
    loaded(page)
    fitted = scale(page)
    page.keyboard.press("+")
    assert scale(page) == pytest.approx(fitted * 1.5, abs=1)
    before = left_of(page)
    page.mouse.move(640, 450)
    page.mouse.down()
    page.mouse.move(700, 450, steps=4)
    page.mouse.up()
    assert left_of(page) == pytest.approx(before + 60, abs=1)
    viewer(page).get_by_role("button", name="Fit to window").click()
    page.mouse.move(640, 450)
    page.mouse.wheel(0, -400)
    playwright.expect(viewer(page).locator(".scale")).not_to_have_text(f"{fitted}%")
    page.keyboard.press("0")
    page.mouse.dblclick(640, 450)
    assert scale(page) > fitted * 2
    page.mouse.dblclick(640, 450)
    assert scale(page) == fitted
    page.keyboard.press("-")
    assert scale(page) == fitted, "never smaller than the window needs"


def test_two_fingers_zoom(page: playwright.Page, two_shapes: Path) -> None:
    add(page, two_shapes)
    thumbnail(page, "two shapes.png").click()
    loaded(page)
    fitted, touch = scale(page), page.context.new_cdp_session(page)

    def send(kind: str, *xs: float) -> None:
        points = [{"x": x, "y": 450, "id": n} for n, x in enumerate(xs)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", 600, 680)
    for apart in (60, 80, 120):
        send("touchMove", 640 - apart, 640 + apart)
    send("touchEnd")
    assert scale(page) == pytest.approx(fitted * 3, rel=0.05)


def test_a_hidden_picture_looks_hidden(page: playwright.Page, two_shapes: Path) -> None:
    add(page, two_shapes)
    ask(page, "What color is the circle?")
    finished(page)
    shown = thumbnail(page, "two shapes.png").first.locator("img")
    playwright.expect(shown).to_have_css("opacity", "1")
    page.get_by_role("button", name="Hide from model").click()
    thumbnail(page, "Hidden from the model").wait_for()
    playwright.expect(shown).to_have_css("opacity", "0.35")
    thumbnail(page, "two shapes.png").first.click()
    playwright.expect(viewer(page).get_by_text("Hidden from the model")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show to model").click()
    playwright.expect(shown).to_have_css("opacity", "1")


def test_a_part_is_drawn_and_asked_about(page: playwright.Page, two_shapes: Path) -> None:
    """With the mouse, in a picture that waits to be sent."""
    add(page, two_shapes)
    thumbnail(page, "two shapes.png").click()
    loaded(page)
    viewer(page).get_by_role("button", name="Crop and ask").click()
    box = viewer(page).locator("img").bounding_box()
    assert box is not None
    by = box["width"] / 1200
    page.mouse.move(box["x"] + 640 * by, box["y"] + 140 * by)
    page.mouse.down()
    page.mouse.move(box["x"] + 1190 * by, box["y"] + 690 * by, steps=5)
    page.mouse.up()
    assert viewer(page).get_by_label("Width").input_value() in ("549", "550", "551")
    viewer(page).get_by_role("button", name="Ask about this part").click()
    page.get_by_text("goes with your next question").wait_for()
    playwright.expect(page.get_by_test_id("stChatInputTextArea")).to_be_focused()
    thumbnail(page, "two shapes.png (crop 55").wait_for()
    page.get_by_role("button", name="Remove").first.click()
    playwright.expect(page.get_by_role("button", name="Remove")).to_have_count(1)
    ask(page, "What shape is in the image?")
    finished(page)
    assert answers(page)[0].startswith("Square.")


def test_a_part_is_chosen_with_the_keyboard(page: playwright.Page, two_shapes: Path) -> None:
    """In a picture of the chat. Escape leaves the choice, then the viewer."""
    add(page, two_shapes)
    ask(page, "What shape is in the image?")
    finished(page)
    page.get_by_role("button", name="Hide from model").click()
    thumbnail(page, "Hidden from the model").click()
    viewer(page).get_by_role("button", name="Crop and ask").press("Enter")
    part = viewer(page).get_by_role("group", name="Part of the picture")
    playwright.expect(part).to_be_focused()
    left, width = viewer(page).get_by_label("Left"), viewer(page).get_by_label("Width")
    before = int(left.input_value()), int(width.input_value())
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    assert int(left.input_value()) < before[0] and int(width.input_value()) > before[1]
    page.keyboard.press("Escape")
    playwright.expect(part).to_be_hidden()
    playwright.expect(viewer(page)).to_be_visible()
    viewer(page).get_by_role("button", name="Crop and ask").click()
    for name, value in (("Width", "480"), ("Height", "480"), ("Left", "60"), ("Top", "9999")):
        viewer(page).get_by_label(name).fill(value)
    viewer(page).get_by_label("Top").press("Tab")
    playwright.expect(viewer(page).get_by_label("Top")).to_have_value("320")  # within the picture
    viewer(page).get_by_label("Top").fill("160")
    page.keyboard.press("Enter")
    thumbnail(page, "two shapes.png (crop 480×480)").wait_for()
    ask(page, "What color is the circle?")
    finished(page, 2)
    assert answers(page)[1].startswith("Red.")


def test_sent_frames_are_seen_and_a_part_of_one_goes_to_the_image_chat(page: playwright.Page, address: str) -> None:
    page.goto(f"{address}/video_chat")
    page.get_by_role("button", name="Which way does the circle move?").click()
    finished(page)
    asked = page.get_by_test_id("stChatMessage").first
    asked.get_by_text("8 frames").wait_for()
    frames = asked.locator(".strip li")
    playwright.expect(frames).to_have_count(8)
    playwright.expect(frames.nth(1)).to_contain_text("0:00.53")
    playwright.expect(frames.nth(1).locator("img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    frames.nth(1).get_by_role("button").click()
    playwright.expect(viewer(page)).to_contain_text("circle-moves-right.mp4 at 0:00.53")
    playwright.expect(viewer(page)).to_contain_text("2 of 8")
    viewer(page).get_by_role("button", name="Crop and ask").click()
    viewer(page).get_by_role("button", name="Ask about this part in Image chat").click()
    page.get_by_role("heading", name="Image chat").wait_for()
    page.get_by_text("goes with your next question").wait_for()
    thumbnail(page, "circle-moves-right.mp4 at 0:00.53 (crop").wait_for()


def test_pictures_that_are_not_stored_open_too(page: playwright.Page, address: str) -> None:
    """Samples, and what Compare and the player show, which is in memory only."""
    page.goto(f"{address}/compare")
    samples(page).nth(1).click()
    playwright.expect(thumbnail(page, "2-two-shapes.png")).to_have_count(2)
    thumbnail(page, "1-red-circle.png").click()
    with Image.open(GALLERY / "1-red-circle.png") as image:
        assert loaded(page) == list(image.size)
    playwright.expect(viewer(page).get_by_role("button", name="Crop and ask")).to_be_hidden()
    page.keyboard.press("Escape")
    playwright.expect(viewer(page)).to_be_hidden()
    thumbnail(page, "2-two-shapes.png").last.click()
    playwright.expect(viewer(page)).to_contain_text("2-two-shapes.png")
    assert loaded(page)
    page.goto(f"{address}/video_chat")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(GALLERY / "circle-moves-right.mp4")
    page.locator(".strip .open").nth(2).click()
    playwright.expect(viewer(page)).to_contain_text("0:01.07")
    playwright.expect(viewer(page)).to_contain_text("3 of 8")
    assert loaded(page) == [480, 270]


def test_a_picture_whose_file_is_gone_says_so(page: playwright.Page, two_shapes: Path) -> None:
    page.route("**/thumbnail/*", lambda route: route.fulfill(status=404))
    page.route("**/picture/*", lambda route: route.fulfill(status=404))
    add(page, two_shapes)
    playwright.expect(thumbnail(page, "Missing or damaged")).to_be_visible()
    thumbnail(page, "Missing or damaged").click()
    viewer(page).get_by_text("This picture is missing or damaged.").wait_for()

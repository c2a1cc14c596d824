"""Answers in a real Chromium: versions, copying, exports and imports, the context gauge, the keyboard."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.conftest import drawn, encoded
from tests.test_browser import address, answers, ask, downloaded, finished, page, playwright, pytestmark  # noqa: F401


def with_a_circle(page: playwright.Page, folder: Path, *questions: str) -> None:
    drawn("red").save(folder / "red.png")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(folder / "red.png")
    page.get_by_text("(180 image,").wait_for()
    for number, question in enumerate(questions, 1):
        ask(page, question)
        finished(page, number)


def test_an_answer_is_copied_given_again_and_gone_back_to(page: playwright.Page, address: str, tmp_path: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    with_a_circle(page, tmp_path, "What color is the circle?", "What shape is in the image?")
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "Red."
    page.get_by_role("button", name="Answer again").first.click()
    page.get_by_text("Temperature 0 gives the same answer").wait_for()
    page.get_by_role("button", name="Answer with these").click()
    page.get_by_text("2 / 2").wait_for()
    page.get_by_text("temperature 0.7, seed 0").wait_for()
    finished(page)  # the second question followed the first answer
    page.get_by_role("button", name="Previous answer").press("Enter")
    page.get_by_text("1 / 2").wait_for()
    finished(page, 2)
    assert answers(page)[1].startswith("Circle.")
    assert page.evaluate("document.activeElement.shadowRoot.activeElement.className") == "previous"


def test_the_first_question_of_two_is_edited_and_returned_to(page: playwright.Page, tmp_path: Path) -> None:
    with_a_circle(page, tmp_path, "What color is the circle?", "What shape is in the image?")
    page.get_by_test_id("stChatMessage").first.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Question").fill("What shape is it?")
    page.get_by_role("button", name="Ask again").click()
    page.get_by_role("button", name="Previous question").wait_for()
    finished(page)
    assert answers(page)[0].startswith("Circle.")
    page.get_by_role("button", name="Previous question").click()
    finished(page, 2)
    assert [text.split(".")[0] for text in answers(page)] == ["Red", "Circle"]
    page.reload()
    page.get_by_role("button", name="What color is the circle?").first.click()
    finished(page, 2)
    playwright.expect(page.get_by_text("1 / 2")).to_be_visible()


def open_menu(page: playwright.Page, title: str) -> None:
    row = page.get_by_test_id("stSidebar").get_by_test_id("stHorizontalBlock").filter(has_text=title).first
    row.get_by_test_id("stPopover").get_by_role("button").click()
    page.get_by_role("button", name="Web page").wait_for()
    page.get_by_test_id("stStatusWidget").wait_for(
        state="detached"
    )  # a click during the run that draws the menu is lost


def exported(page: playwright.Page, label: str) -> Path:
    download = downloaded(page, label)
    target = Path(str(download.path())).with_name(download.suggested_filename)
    download.save_as(target)
    return target


def test_the_web_page_of_a_conversation_shows_its_pictures_and_fetches_nothing(page: playwright.Page) -> None:
    webp = {"name": "circle.webp", "mimeType": "image/webp", "buffer": encoded(drawn("blue"), "WEBP")}
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(webp)
    page.get_by_text("(180 image,").wait_for()
    ask(page, "What color is this webp?")
    finished(page)
    open_menu(page, "What color is this webp?")
    path = exported(page, "Web page")
    assert path.name == "What color is this webp.html"
    page.goto("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(path.as_uri())
    pictures = page.locator("img")
    playwright.expect(pictures).to_have_count(1)
    pictures.first.evaluate("image => image.decode()")
    assert pictures.first.evaluate("image => [image.naturalWidth, image.currentSrc.slice(0, 15)]") == [
        300,
        "data:image/jpeg",
    ]
    assert "Blue." in page.inner_text("body") and asked == [path.as_uri()]


def test_a_conversation_with_two_versions_is_imported(page: playwright.Page, tmp_path: Path) -> None:
    with_a_circle(page, tmp_path, "What color is the circle?")
    page.get_by_test_id("stChatMessage").first.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Question").fill("What shape is in the image?")
    page.get_by_role("button", name="Ask again").click()
    page.get_by_text("2 / 2").wait_for()
    finished(page)
    open_menu(page, "What color is the circle?")
    path = exported(page, "JSON")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New conversation").click()
    page.get_by_test_id("stChatMessage").first.wait_for(state="detached")
    page.get_by_role("button", name="Import", exact=True).click()
    broken = tmp_path / "broken.json"
    broken.write_text(path.read_text("utf-8").replace('"user"', '"narrator"'), "utf-8")
    chooser = page.get_by_test_id("stPopoverBody").get_by_test_id("stFileUploaderDropzoneInput")
    chooser.set_input_files(broken)
    page.get_by_text("Message 1 in the file cannot be read").wait_for()
    playwright.expect(chooser).to_have_count(1)
    chooser.set_input_files(path)
    page.get_by_text("2 / 2").wait_for()
    finished(page)
    assert answers(page)[0].startswith("Circle.")
    page.get_by_role("button", name="Previous question").click()
    page.get_by_text("1 / 2").wait_for()
    playwright.expect(page.get_by_test_id("stChatMessage").nth(1)).to_contain_text("Red.")


def test_an_imported_clip_has_its_frames_and_says_that_the_clip_is_not_there(
    page: playwright.Page, address: str, tmp_path: Path
) -> None:
    page.get_by_role("link", name="Video chat").click()
    page.get_by_test_id("stMain").get_by_role("button", name="Which way does the circle move?").click()
    finished(page)
    open_menu(page, "Which way does the circle move?")
    path = exported(page, "JSON")
    elsewhere = path.with_name("elsewhere.json")
    sha256 = json.loads(path.read_text("utf-8"))["messages"][0]["attachments"][0]["sha256"]
    elsewhere.write_text(
        path.read_text("utf-8").replace(sha256, "0" * 64), "utf-8"
    )  # a clip this machine does not have
    page.keyboard.press("Escape")
    page.goto(f"{address}/video_chat")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_test_id("stPopoverBody").get_by_test_id("stFileUploaderDropzoneInput").set_input_files(elsewhere)
    page.get_by_text("Its frames are here, the clip is not").wait_for()
    finished(page)
    ask(page, "What shape moves?")
    finished(page, 2)
    assert answers(page)[1]


def test_the_gauge_lists_what_takes_room_and_drops_it(page: playwright.Page) -> None:
    colors = ("red", "blue", "green", "orange", "purple", "cyan", "black", "yellow", "pink")
    files = [{"name": f"{c}.png", "mimeType": "image/png", "buffer": encoded(drawn(c))} for c in colors]
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(files)
    page.get_by_text("The context is nearly full").wait_for()
    ask(page, "What color is the circle?")
    finished(page)
    gauge = page.get_by_text("This question: about")
    before = gauge.inner_text()
    page.get_by_role("button", name="Details", exact=True).click()
    body = page.get_by_test_id("stPopoverBody")
    playwright.expect(body.get_by_role("button", name="Hide")).to_have_count(9)
    body.get_by_role("button", name="Hide").first.click()
    playwright.expect(body.get_by_role("button", name="Hide")).to_have_count(8)
    page.get_by_text("The context is nearly full").wait_for(state="detached")
    used = [int(re.sub(r"\D", "", re.search(r"about ([\d,]+)", text)[1])) for text in (before, gauge.inner_text())]  # type: ignore[index]
    assert used[0] - used[1] >= 180


def test_the_keyboard(page: playwright.Page, tmp_path: Path) -> None:
    with_a_circle(page, tmp_path, "What color is the circle?")
    box, search = page.get_by_test_id("stChatInputTextArea"), page.get_by_role("textbox", name="Search")
    box.fill("")
    page.keyboard.type("n/q?")
    playwright.expect(box).to_have_value("n/q?")
    playwright.expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    page.keyboard.press("Control+k")
    playwright.expect(search).to_be_focused()
    page.keyboard.press("Shift+Escape")
    playwright.expect(box).to_be_focused()
    box.blur()
    page.keyboard.press("?")
    shortcuts = page.get_by_role("dialog", name="Keyboard shortcuts")
    playwright.expect(shortcuts.get_by_text("Stop the answer")).to_be_visible()
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    playwright.expect(shortcuts).to_be_hidden()
    playwright.expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    page.keyboard.press("/")
    playwright.expect(search).to_be_focused()
    search.blur()
    page.keyboard.press("q")
    playwright.expect(box).to_be_focused()
    box.blur()
    page.keyboard.press("n")
    playwright.expect(page.get_by_test_id("stChatMessage")).to_have_count(0)


def test_esc_stops_an_answer(page: playwright.Page) -> None:
    """The answer takes less than a second, so a script in the page presses the key as soon as the first words appear."""
    files = [
        {"name": f"{c}.png", "mimeType": "image/png", "buffer": encoded(drawn(c))} for c in ("red", "blue", "green")
    ]
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(files)
    page.get_by_text("(540 image,").wait_for()
    page.evaluate("""() => new MutationObserver((_, observer) => {
        if (!document.body.textContent.includes("▍")) return;
        observer.disconnect();
        document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
    }).observe(document.body, {childList: true, subtree: true, characterData: true})""")
    ask(page, "Describe each image.")
    page.get_by_text("Stopped.").wait_for()
    assert "Image 3" not in answers(page)[0]

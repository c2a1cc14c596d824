"""The first minute, and one place for media, in a real Chromium."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import base64
import re

import pytest

from smolvlm_core.paths import GALLERY
from tests.conftest import drawn, encoded
from tests.test_browser import address, answers, ask, finished, page, playwright, pytestmark  # noqa: F401

File = tuple[str, str, bytes]
RED: File = ("red.png", "image/png", encoded(drawn("red")))
BLUE: File = ("blue.png", "image/png", encoded(drawn("blue")))
CLIP: File = ("circle.mp4", "video/mp4", (GALLERY / "circle-moves-right.mp4").read_bytes())
GIVE = """([event, on, files]) => {
  const data = new DataTransfer(), target = document.querySelector(on), init = {bubbles: true, cancelable: true, composed: true};
  for (const [name, type, bytes] of files)
    data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, {type}));
  if (event === "paste") return target.dispatchEvent(new ClipboardEvent("paste", {...init, clipboardData: data}));
  for (const name of event === "drop" ? ["dragenter", "dragover", "drop"] : ["dragenter", "dragover"])
    target.dispatchEvent(new DragEvent(name, {...init, dataTransfer: data}));
}"""


def give(page: playwright.Page, *files: File, event: str = "drop", on: str = "h1") -> None:
    """Drop files on the page, drag them over it, or paste them."""
    page.locator(".add[title]").first.wait_for()  # set by its script, which listens from then on
    page.evaluate(GIVE, [event, on, [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files]])


def pending(page: playwright.Page) -> playwright.Locator:
    return page.locator(".st-key-pending").get_by_role("button", name="Remove")


@pytest.mark.parametrize(
    "question, answer, heading",
    [
        ("How many shapes are there?", "Five.", "Image chat"),
        ("Which way does the circle move?", "To the right.", "Video chat"),
    ],
)
def test_a_first_visitor_gets_a_true_answer_with_one_click(
    page: playwright.Page, question: str, answer: str, heading: str
) -> None:
    page.get_by_role("button", name=question).click()
    page.get_by_role("heading", name=heading).wait_for()
    finished(page)
    assert answers(page) == [answer]
    assert page.get_by_text("Or try a sample").count() == 0 and page.locator(".st-key-starters").count() == 0
    playwright.expect(page.locator("[class*=st-key-open_] button").first).to_be_in_viewport()


def test_dropped_files_are_named_and_cost_the_same_line(page: playwright.Page) -> None:
    """Refused, duplicate, and a second drop before the first one was taken."""
    give(page, RED, event="drag")
    page.get_by_text("Drop pictures or a clip to add them").wait_for()
    give(page, RED, ("notes.txt", "text/plain", b"hello"))
    page.get_by_text("(180 image,").wait_for()
    page.get_by_text("notes.txt is neither a picture nor a clip").wait_for()
    give(page, ("copy.png", "image/png", RED[2]), RED)
    page.get_by_text("copy.png is the same picture as red.png").wait_for()
    page.get_by_text("red.png is already added.").wait_for()
    playwright.expect(pending(page)).to_have_count(1)
    give(page, BLUE)
    give(page, ("green.png", "image/png", encoded(drawn("green"))))
    page.get_by_text("(540 image,").wait_for()
    playwright.expect(pending(page)).to_have_count(3)


def test_a_pasted_picture_is_asked_about_and_no_longer_waits(page: playwright.Page) -> None:
    give(page, ("image.png", "image/png", BLUE[2]), event="paste", on="textarea")
    page.get_by_text("pasted-1.png").wait_for()
    page.get_by_text("(180 image,").wait_for()
    playwright.expect(page.locator(".st-key-starters").get_by_role("button")).to_have_count(3)
    page.evaluate(  # notes what can be seen at the moment when the answer begins
        """() => new MutationObserver((_, observer) => {
            if (document.querySelectorAll("[data-testid=stChatMessage]").length < 2) return;
            observer.disconnect();
            document.body.dataset.waits = [".st-key-pending", ".st-key-starters"].filter((c) => document.querySelector(c)).join();
            document.body.dataset.box = document.querySelector("textarea").value;
        }).observe(document.body, {childList: true, subtree: true})"""
    )
    ask(page, "What color is the circle?")
    finished(page)
    assert answers(page) == ["Blue."]
    seen = page.evaluate("document.body.dataset")
    assert (seen["waits"], seen["box"]) == ("", "")


def test_a_clip_opens_video_chat_and_a_picture_image_chat(page: playwright.Page) -> None:
    give(page, CLIP, BLUE)
    page.get_by_role("heading", name="Video chat").wait_for()
    page.get_by_text("circle.mp4 is open here").wait_for()
    page.get_by_text("blue.png waits in Image chat").wait_for()
    page.locator(".strip li").first.wait_for()
    page.locator(".st-key-starters").get_by_role("button", name="What happens in the video?").click()
    finished(page)
    assert answers(page) == ["A red circle moves to the right."]
    give(page, RED)
    page.get_by_role("heading", name="Image chat").wait_for()
    page.get_by_text("red.png goes with your next question in Image chat").wait_for()
    playwright.expect(pending(page)).to_have_count(2)


def test_a_question_without_a_picture_is_answered_and_says_so(page: playwright.Page) -> None:
    assert page.get_by_text("No picture in this conversation").count() == 0
    ask(page, "What is in the picture?")
    page.get_by_text("No picture in this conversation: the model answers from text alone.").wait_for()
    finished(page)
    give(page, RED)
    page.get_by_text("No picture in this conversation").wait_for(state="detached")


def test_conversations_are_in_view_and_search_shows_the_matching_text(page: playwright.Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("button", name="Where is the moon?").first.click()
    finished(page)
    for name in ("New conversation", "Where is the moon?"):
        button = page.get_by_test_id("stSidebar").get_by_role("button", name=name, exact=True).first
        playwright.expect(button).to_be_in_viewport()
        assert "primary" not in str(button.get_attribute("data-testid"))
    page.get_by_placeholder("Search conversations").fill("TOP right")
    page.keyboard.press("Enter")
    found = page.locator(".st-key-conversations")
    playwright.expect(found.locator("strong")).to_have_text("top right")
    playwright.expect(found).to_contain_text(re.compile(r"At the top right\."))


def test_what_there_is_to_know_of_the_model_is_one_click_away(page: playwright.Page) -> None:
    page.locator(".st-key-model_state", has_text="Ready").wait_for()
    assert page.get_by_text("App memory").count() == 0
    page.locator(".st-key-about_model").get_by_role("button").click()
    page.get_by_text("App memory").wait_for()
    page.get_by_text("The model hub cannot be reached").wait_for()


def test_a_narrow_page_names_the_model_and_begins_at_its_top(page: playwright.Page, address: str) -> None:
    chip = page.locator(".st-key-model_chip")
    chip.wait_for(state="attached")
    playwright.expect(chip).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    for path, heading in (("", "Image chat"), ("video_chat", "Video chat")):
        page.goto(f"{address}/{path}")
        page.get_by_text("Or try a sample").wait_for()
        playwright.expect(chip).to_contain_text("SmolVLM Shapes (bundled)")
        playwright.expect(chip).to_be_in_viewport()
        playwright.expect(page.get_by_role("heading", name=heading)).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_camera_is_reachable_and_asked_for_only_then(page: playwright.Page) -> None:
    assert page.get_by_test_id("stCameraInput").count() == 0
    page.locator(".st-key-camera_menu").get_by_role("button").click()
    page.get_by_test_id("stCameraInput").wait_for()

"""Answers in a real Chromium: versions, copying, exports and imports, the context gauge, the keyboard."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

from pathlib import Path

from tests.conftest import drawn
from tests.test_browser import address, answers, ask, finished, page, playwright, pytestmark  # noqa: F401


def with_a_circle(page: playwright.Page, folder: Path, *questions: str) -> None:
    drawn("red").save(folder / "red.png")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(folder / "red.png")
    page.get_by_text("180 image tokens").wait_for()
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

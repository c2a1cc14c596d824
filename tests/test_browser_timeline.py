"""The Timeline view in a real Chromium, with the bundled model on a drawn film whose events are known."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tests.test_browser import address, page, playwright, pytestmark  # noqa: F401
from training.films import random_film, write_film
from training.questions import Event
from ui.timeline.session import SHOWN_FOR

expect = playwright.expect
SECONDS_EACH = 4
ANSWERS = """() => {
  let answers = 0;
  const count = () => { answers += 1; };
  document.addEventListener("lens-time", count);
  document.dispatchEvent(new CustomEvent("lens-where"));
  document.removeEventListener("lens-time", count);
  return answers;
}"""
Film = tuple[Path, list[Event]]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """24 s, one event every 4 s."""
    events, scenes = random_film(random.Random(900_001), 6, 10 * SECONDS_EACH)
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes, 10), events


def open_timeline(page: playwright.Page, address: str, path: Path) -> None:
    page.goto(f"{address}/video_chat?view=timeline")
    page.get_by_role("button", name="Add pictures or a clip").first.wait_for()
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(path)
    page.locator("video").wait_for()


def open_made(page: playwright.Page, address: str, film: Film) -> None:
    """Open the film with its timeline, which is made where no test did so before."""
    open_timeline(page, address, film[0])
    start = page.get_by_role("button", name="Start", exact=True)
    start.or_(rows(page).first).wait_for()
    if start.count():
        start.click()
    expect(rows(page).last.locator("img")).to_have_count(4, timeout=60_000)
    ended(page)


def write_note(page: playwright.Page, row: playwright.Locator, text: str) -> None:
    row.get_by_role("button", name=re.compile("^Add a note: ")).click()
    row.get_by_role("textbox").fill(text)
    page.keyboard.press("Control+Enter")
    expect(row.locator(".note")).to_contain_text(text)


def rows(page: playwright.Page) -> playwright.Locator:
    return page.locator(".list > li")


def seconds(page: playwright.Page) -> float:
    return float(page.locator("video").evaluate("v => v.currentTime"))


def ended(page: playwright.Page) -> None:
    expect(page.get_by_text("Waiting…")).to_have_count(0, timeout=60_000)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)


def test_a_timeline_is_made_read_and_corrected(page: playwright.Page, address: str, film: Film) -> None:
    path, events = film
    open_timeline(page, address, path)
    expect(page.get_by_test_id("stChatInputTextArea")).to_have_count(0)
    page.get_by_text(re.compile(r"At most \d+ segments and \d+ frames\..* of the model's 2,048 tokens")).wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    for number, event in enumerate(events):
        expect(rows(page).nth(number)).to_contain_text(event.describe(), timeout=60_000)
    ended(page)
    expect(rows(page)).to_have_count(len(events))
    expect(rows(page).first).to_have_attribute("aria-current", "true")

    # The player moves to a row, and the row of the player's time is marked.
    rows(page).nth(2).get_by_role("button", name="0:08 – 0:12", exact=True).click()
    assert seconds(page) == pytest.approx(8.0, abs=0.05)
    page.locator("video").evaluate("v => { v.currentTime = 17 }")
    expect(rows(page).nth(4)).to_have_attribute("aria-current", "true")
    expect(page.locator(".list > li[aria-current]")).to_have_count(1)
    page.locator("video").evaluate("v => { v.currentTime = 3.9; v.playbackRate = 4; v.play() }")
    expect(rows(page).nth(1)).to_have_attribute("aria-current", "true")
    page.locator("video").evaluate("v => v.pause()")

    # An edit is kept beside the model's words, shown as it was typed, and taken back.
    second, words = rows(page).nth(1), events[1].describe()
    second.get_by_role("button", name=re.compile("^Edit: ")).click()
    second.get_by_role("textbox").fill("A <b>zeppelin</b> **lands**.")
    second.get_by_role("button", name="Save").click()
    expect(second.get_by_text("A <b>zeppelin</b> **lands**.")).to_be_visible()
    expect(second.get_by_text(f"The model: {words}")).to_be_visible()
    write_note(page, rows(page).nth(2), "Look at this again")

    # What the model was given.
    second.get_by_role("button", name=re.compile("^What the model was given")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Describe what happens.")
    expect(dialog.locator("code").first).to_contain_text("Frame from 00:04:<image>")
    expect(dialog).to_contain_text("4 frames, in this order: 0:04.00 (#40)")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    # A frame opens whole.
    second.locator(".frames button").first.click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("film.mp4 at 0:04.00")
    viewer.locator("img").evaluate("i => i.complete ? i.decode() : new Promise(done => i.onload = done)")
    assert viewer.locator("img").evaluate("i => i.naturalWidth") == 192
    page.keyboard.press("Escape")

    # After a reload all of it is there, and the edit is taken back.
    page.reload()
    expect(second.get_by_text("A <b>zeppelin</b> **lands**.")).to_be_visible()
    second.get_by_role("button", name=re.compile("^Undo edit")).click()
    expect(second.get_by_text("The model:")).to_have_count(0)
    expect(second.get_by_text(words)).to_be_visible()


def test_a_question_becomes_a_column_and_words_are_found_again(page: playwright.Page, address: str, film: Film) -> None:
    events = film[1]
    open_made(page, address, film)
    write_note(page, rows(page).nth(3), "The xylophone <i>appears</i> here")
    page.get_by_text("Questions", exact=True).click()
    page.get_by_label("Add a question for every segment").fill("What shape is it?")
    page.keyboard.press("Enter")
    for number, event in enumerate(events):
        column = rows(page).nth(number).locator("p", has_text="What shape is it?")
        expect(column).to_contain_text(event.thing.shape.capitalize(), timeout=60_000)
    ended(page)

    page.get_by_role("link", name="Image chat").click()
    page.get_by_role("heading", name="Image chat").wait_for()
    page.get_by_role("link", name="Video chat").click()
    expect(rows(page)).to_have_count(len(events))  # the view is remembered
    page.goto(f"{address}/video_chat?view=timeline")  # another session, with no clip open
    page.get_by_label("Search the timelines of all clips").fill("appears xylo")
    page.keyboard.press("Enter")
    hit = page.locator(".st-key-timeline_hits").get_by_role("button")
    expect(hit).to_have_text("film.mp4 · 0:12 – 0:16 · note: The xylophone <i>appears</i> here")
    expect(hit.locator("strong")).to_have_text(["film.mp4", "xylophone", "appears"])
    hit.click()
    expect(rows(page).nth(3)).to_have_attribute("aria-current", "true")
    page.locator("video").evaluate("v => v.readyState || new Promise(done => v.onloadeddata = done)")
    assert seconds(page) == pytest.approx(12.0, abs=0.05)

    # Once more: one player answers, and goes there once.
    page.locator("video").evaluate("v => { v.currentTime = 1 }")
    hit.click()
    expect(page.locator("video")).to_have_attribute("data-seek", "2")
    assert page.evaluate(ANSWERS) == 1
    page.wait_for_timeout(1000 * SHOWN_FOR)  # so long the page may be drawn again for the same hit
    page.get_by_role("link", name="Image chat").click()
    page.get_by_role("heading", name="Image chat").wait_for()
    page.get_by_role("link", name="Video chat").click()
    expect(rows(page).first).to_have_attribute("aria-current", "true")
    assert seconds(page) < 1

    page.get_by_text("Questions", exact=True).click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(rows(page).first.get_by_text("What shape is it?")).to_have_count(0)


def test_a_run_goes_on_over_a_reload_and_after_a_stop(page: playwright.Page, address: str, film: Film) -> None:
    open_made(page, address, film)
    page.get_by_label("Timeline", exact=True).click()
    page.get_by_role("option", name="New timeline").click()
    page.get_by_text("Fixed intervals", exact=True).click()
    length = page.get_by_label("Length (s)")
    length.fill("0.5")
    length.press("Enter")
    page.get_by_text("At most 48 segments and 192 frames.").wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(rows(page)).to_have_count(48)
    expect(rows(page).first.locator(".frames img")).to_have_count(4, timeout=60_000)
    page.reload()
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ of 48 segments"))).to_be_visible()
    stop.click()
    go_on = page.get_by_role("button", name="Go on", exact=True)
    expect(go_on).to_be_visible(timeout=30_000)
    expect(rows(page).last).to_contain_text("Not asked yet")
    go_on.click()
    expect(page.get_by_text("Not asked yet")).to_have_count(0)  # they wait
    ended(page)
    expect(go_on).to_have_count(0)

    page.get_by_role("button", name="About", exact=True).click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it", exact=True).click()
    expect(rows(page)).to_have_count(len(film[1]))  # the other one of this clip is shown

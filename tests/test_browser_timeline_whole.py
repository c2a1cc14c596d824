"""What is made of a whole timeline, in a real Chromium: a summary with times and verdicts, and two timelines compared."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import re

from tests.test_browser import address, page, playwright, pytestmark  # noqa: F401
from tests.test_browser_timeline import Film, ended, film, open_made, rows, seconds  # noqa: F401

expect = playwright.expect


def statements(page: playwright.Page) -> playwright.Locator:
    return page.locator(".statements > li")


def test_a_summary_says_what_its_frames_do_not_support(page: playwright.Page, address: str, film: Film) -> None:
    events = film[1]
    open_made(page, address, film)
    second = events[1].thing
    wrong = events[1].describe().replace(second.color, "green")
    rows(page).nth(1).get_by_role("button", name=re.compile("^Edit: ")).click()
    rows(page).nth(1).get_by_role("textbox").fill(wrong)
    page.keyboard.press("Control+Enter")
    expect(rows(page).nth(1)).to_contain_text("Edited")

    page.get_by_text("Summary with times", exact=True).click()
    page.get_by_text(
        re.compile(r"6 segments with \d+ tokens of text fit the model's context of 2,048 at once")
    ).wait_for()
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_role("button", name="Answer again").wait_for(timeout=120_000)
    expect(statements(page)).to_have_count(6)
    expect(statements(page).nth(0)).to_contain_text("Supported by its frames")
    expect(statements(page).nth(1)).to_contain_text("Not supported by its frames")
    expect(statements(page).nth(1)).to_contain_text("From edited words")
    page.get_by_text("6 statements · 5 supported by their frames · 1 not supported").wait_for()

    statements(page).nth(1).get_by_text("What was asked").click()
    expect(statements(page).nth(1)).to_contain_text(f"Is there a green {second.shape} in the picture? → No.")
    statements(page).nth(2).get_by_role("button", name="0:08 – 0:12", exact=True).click()
    expect(rows(page).nth(2)).to_have_attribute("aria-current", "true")
    assert 7.9 < seconds(page) < 8.2

    rows(page).nth(1).get_by_role("button", name=re.compile("^Undo edit")).click()
    page.get_by_text("The descriptions were changed after this was made.").wait_for()


def test_two_timelines_are_compared(page: playwright.Page, address: str, film: Film) -> None:
    open_made(page, address, film)
    page.get_by_role("combobox", name="Timeline").click()
    page.get_by_role("option", name="New timeline").click()
    page.get_by_role("textbox", name="Ask of each segment").fill("Which way does the shape move?")
    page.get_by_role("textbox", name="Ask of each segment").press("Control+Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(rows(page).last.locator("img")).to_have_count(4, timeout=60_000)
    ended(page)

    page.get_by_text("Compare with another timeline", exact=True).click()
    compared = page.locator(".rows > li")
    expect(compared).to_have_count(6)
    page.get_by_text(re.compile("^6 of 6 segments differ$")).wait_for()
    degrees = [int(text.split("%")[0]) for text in page.locator(".rows .degree").all_text_contents()]
    assert degrees == sorted(degrees, reverse=True) and degrees[-1] > 0, "the largest disagreement comes first"
    label = compared.nth(3).locator(".time")
    start = (label.text_content() or "").split(" – ")[0]
    label.click()
    expect(page.locator(".list > li[aria-current=true] .time")).to_contain_text(start)
    with page.expect_download() as download:
        page.get_by_role("button", name="Report as Markdown").click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.count("% different") == 6 and film[1][0].describe().rstrip(".") in text

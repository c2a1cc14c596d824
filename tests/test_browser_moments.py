"""Finding moments in a real Chromium, with the bundled model on a drawn clip whose moments are known."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.moments import FPS
from tests.test_browser import address, page, playwright, pytestmark  # noqa: F401
from tests.test_browser_timeline import open_timeline, seconds
from tests.test_moments import story
from training.films import write_film

expect = playwright.expect


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[float]]:
    made = story("appear, disappear", 7_300_001)
    question, known = next(iter(made.asked.items()))
    return write_film(tmp_path_factory.mktemp("moments") / "moments.mp4", made.scenes, FPS), question, known


def test_moments_are_found_and_move_the_player(
    page: playwright.Page, address: str, film: tuple[Path, str, list[float]]
) -> None:
    path, question, known = film
    open_timeline(page, address, path)
    box, find = page.get_by_role("textbox", name="Find moments"), page.get_by_role("button", name="Find", exact=True)
    box.fill("What happens?")
    find.click()
    page.get_by_text("This question does not ask when something happens.").wait_for()
    box.fill(question)
    box.press("Enter")
    page.get_by_text(re.compile(r"\d+ questions, about a frame every 0\.5 s\. Then up to 8 more")).wait_for()
    find.click()
    times = page.locator(".moments .go")
    expect(times).to_have_count(len(known), timeout=180_000)
    expect(page.get_by_text("This question does not ask")).to_have_count(0)
    for time, shown in zip(known, times.all_inner_texts(), strict=True):
        assert float(shown.removeprefix("0:")) == pytest.approx(time, abs=0.11)

    times.last.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".moments tr[aria-current]")).to_have_count(1)
    assert seconds(page) == pytest.approx(known[-1], abs=0.15)
    plot = page.locator(".moments svg").bounding_box()
    assert plot is not None
    page.mouse.click(plot["x"] + 2, plot["y"] + 40)
    expect(page.locator(".moments tr[aria-current]")).to_have_count(0)
    assert seconds(page) < 1

    page.get_by_role("link", name="Compare").first.click()  # the curve is kept with the clip
    page.get_by_text("Questions, one per line").first.wait_for()
    page.get_by_role("link", name="Video chat").first.click()
    expect(times).to_have_count(len(known))
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".moments")).to_have_count(0)

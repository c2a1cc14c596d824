"""axe-core finds no serious accessibility fault on any page, in its states, light and dark, wide and narrow."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.moments import FPS
from smolvlm_core.paths import GALLERY
from tests.clips import write_numbered
from tests.test_browser import address, ask, finished, page, playwright, pytestmark, samples  # noqa: F401
from tests.test_moments import story
from tests.test_sharing import App, app, browser, sign_in  # noqa: F401
from training.films import write_film

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is not installed: run pip install -r requirements-dev.txt"
)
expect = playwright.expect
SERIOUS = ("serious", "critical")
# Of Streamlit's own markup, where a fault of this rule inside this element is none or cannot be helped: rule, element, why.
EXCEPTIONS = (
    (
        "color-contrast",
        ".stSlider:has(input:disabled)",
        "WCAG 1.4.3 excepts what belongs to a disabled control; axe does not see that the label does",
    ),
    ("aria-dialog-name", "[data-testid=stToast]", "Streamlit names it after a title that its messages do not have"),
)


class Faults:
    """What axe found, each fault once. `scan` waits until the page has been drawn."""

    def __init__(self, page: playwright.Page) -> None:
        self.page, self.found = page, {}  # type: ignore[var-annotated]

    def scan(self, state: str) -> None:
        if self.page.get_by_test_id("stApp").count():
            self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
            expect(self.page.locator("[data-stale=true]")).to_have_count(0)
        result = axe.Axe().run(self.page).response
        assert result["testEngine"]["name"] == "axe-core"
        for rule in result["violations"]:
            for node in rule["nodes"] if rule["impact"] in SERIOUS else ():
                if not self._is_excepted(rule["id"], node["target"]):
                    self.found.setdefault((rule["id"], node["html"][:200]), f"{state}: {node['failureSummary']}")

    def _is_excepted(self, rule: str, target: list[Any]) -> bool:
        return any(
            rule == name
            and isinstance(target[0], str)
            and self.page.locator(target[0]).evaluate_all("(all, wanted) => all.some(e => e.closest(wanted))", element)
            for name, element, _ in EXCEPTIONS
        )


@pytest.fixture(params=["light", "dark"])
def faults(page: playwright.Page, request: pytest.FixtureRequest) -> Iterator[Faults]:
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    scanned = Faults(page)
    yield scanned
    assert scanned.found == {}


def upload(page: playwright.Page, path: Path) -> None:
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(path)


def test_image_chat(page: playwright.Page, faults: Faults) -> None:
    page.get_by_role("button", name="Add pictures or a clip").first.wait_for()
    faults.scan("start")
    upload(page, GALLERY / "1-red-circle.png")
    page.get_by_text("(180 image,").wait_for()
    faults.scan("picture added")
    ask(page, "What color is the circle?")
    finished(page)
    page.get_by_text("What the model was given").click()
    page.get_by_text("Reused from earlier questions").wait_for()
    faults.scan("answer")
    page.get_by_text("Settings", exact=True).first.click()
    page.get_by_text("Longest answer").wait_for()
    faults.scan("settings")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 844})
    faults.scan("narrow")


def test_video_chat(page: playwright.Page, address: str, faults: Faults, tmp_path: Path) -> None:
    page.goto(f"{address}/video_chat")
    page.get_by_role("button", name="Add pictures or a clip").first.wait_for()
    faults.scan("start")
    write_numbered(tmp_path / "a.mp4", 40)
    upload(page, tmp_path / "a.mp4")
    page.get_by_text("(288 image,").wait_for()
    page.locator(".strip .go").nth(7).wait_for()
    faults.scan("clip")
    page.get_by_role("textbox", name="Start").fill("soon")
    page.keyboard.press("Enter")
    page.get_by_text("is not a time").wait_for()
    page.get_by_role("button", name="About this clip").click()
    page.get_by_text("40 frames", exact=True).wait_for()
    faults.scan("range that cannot be read")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Open frame").first.click()
    page.get_by_role("dialog").wait_for()
    faults.scan("frame opened")
    page.keyboard.press("Escape")
    page.get_by_text("By hand").click()
    expect(page.get_by_role("textbox", name="Start")).to_have_count(0)
    ask(page, "What happens?")
    finished(page)
    faults.scan("answer")
    page.set_viewport_size({"width": 390, "height": 844})
    faults.scan("narrow, folded")
    page.get_by_role("button", name="Show a.mp4").click()
    expect(page.locator("video")).to_be_visible()
    faults.scan("narrow, open")


def test_timeline(page: playwright.Page, address: str, faults: Faults) -> None:
    page.goto(f"{address}/video_chat?view=timeline")
    page.get_by_role("button", name="Add pictures or a clip").first.wait_for()
    faults.scan("start")
    upload(page, GALLERY / "circle-moves-right.mp4")
    page.get_by_text("At most").or_(page.locator(".list > li")).first.wait_for()
    if page.get_by_text("At most").count():  # in the first of the two themes
        faults.scan("form")
        page.get_by_role("button", name="Start", exact=True).click()
    row = page.locator(".list > li").first
    row.get_by_role("button", name=re.compile("^Edit: ")).wait_for(timeout=60_000)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0, timeout=60_000)
    row.get_by_role("button", name=re.compile("^Edit: ")).click()
    faults.scan("editor")
    row.get_by_role("textbox").fill("A ball rolls by.")
    row.get_by_role("button", name="Save").click()
    row.get_by_text("The model:").wait_for()
    page.get_by_label("Search the timelines of all clips").fill("ball")
    page.keyboard.press("Enter")
    page.locator(".st-key-timeline_hits").get_by_role("button").first.wait_for()
    page.get_by_text("Questions", exact=True).click()
    page.get_by_label("Add a question for every segment").wait_for()
    faults.scan("edited, searched, questions")
    page.get_by_text("Export", exact=True).click()
    page.get_by_role("combobox", name="Format").wait_for()
    page.get_by_text("Cut the clip").click()
    page.get_by_role("radio", name="Times").wait_for()
    faults.scan("export, cut")
    row.get_by_role("button", name="What the model was given").click()
    page.get_by_role("dialog").wait_for()
    faults.scan("what the model was given")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_text("Summary with times", exact=True).click()
    page.get_by_role("button", name=re.compile("^Answer")).click()
    page.locator(".statements > li").first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Answer again").wait_for(timeout=60_000)
    page.locator(".statements summary, .statements .quiet").first.click()
    page.get_by_text("Compare with another timeline", exact=True).click()
    page.get_by_role("combobox", name="Compare with").wait_for()
    faults.scan("summary, compare")
    row.get_by_role("button", name="Undo edit").click()
    expect(row.get_by_text("The model:")).to_have_count(0)
    page.set_viewport_size({"width": 390, "height": 844})
    faults.scan("narrow")
    page.get_by_role("button", name="About", exact=True).click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").wait_for()
    faults.scan("delete")


def test_moments(page: playwright.Page, address: str, faults: Faults, tmp_path: Path) -> None:
    made = story("appear, disappear", 7_300_001)
    page.goto(f"{address}/video_chat?view=timeline")
    page.get_by_role("button", name="Add pictures or a clip").first.wait_for()
    upload(page, write_film(tmp_path / "moments.mp4", made.scenes, FPS))
    page.get_by_role("textbox", name="Find moments").fill(next(iter(made.asked)))
    page.get_by_role("button", name="Find", exact=True).click()
    page.locator(".moments tbody tr").first.wait_for(timeout=60_000)
    faults.scan("moments")


def test_live(page: playwright.Page, address: str, faults: Faults) -> None:
    page.goto(f"{address}/live")
    page.get_by_role("button", name="Start", exact=True).wait_for()
    page.get_by_text("Stream", exact=True).click()
    page.get_by_text("Streams by address are off").wait_for()
    page.mouse.move(0, 0)  # the color below the pointer is Streamlit's
    faults.scan("streams are off")
    page.get_by_text("Clip", exact=True).click()
    page.get_by_role("button", name="Is there a red circle?").click()
    page.get_by_text("Options", exact=True).click()
    page.get_by_text("When the picture changes").click()
    page.get_by_role("slider", name="Minimum change").wait_for()
    faults.scan("form")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("The clip ended.").wait_for()
    page.get_by_role("list", name="Answers").get_by_role("listitem").first.wait_for()
    page.get_by_role("list", name="Alerts").get_by_role("listitem").first.wait_for()
    faults.scan("session")
    page.set_viewport_size({"width": 390, "height": 844})
    faults.scan("narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_compare(page: playwright.Page, address: str, faults: Faults) -> None:
    page.goto(f"{address}/compare")
    samples(page).first.click()
    page.get_by_text("1-red-circle.png").wait_for()
    faults.scan("form")
    page.get_by_label("Questions, one per line").fill("What color is the circle?")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("button", name="Prefer")).to_have_count(2, timeout=120_000)
    page.get_by_role("button", name="Prefer").first.click()
    expect(page.locator(".stMarkdownBadge", has_text="Preferred")).to_be_visible()
    faults.scan("result")


def test_batch(page: playwright.Page, address: str, faults: Faults) -> None:
    page.goto(f"{address}/batch")
    page.get_by_role("button", name="Try it with the samples").click()
    page.get_by_text("6 items").wait_for()
    faults.scan("form")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Continue").wait_for(timeout=120_000)
    faults.scan("result")


def test_backends(page: playwright.Page, address: str, faults: Faults) -> None:
    page.goto(f"{address}/backends")
    page.get_by_role("heading", name="Backends", exact=True).wait_for()
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        faults.scan(tab.inner_text())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_login_and_usage(app: App, browser: Any, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(app.url)
    page.get_by_role("button", name="Sign in").wait_for()
    login = Faults(page)
    login.scan("login")
    assert login.found == {}
    page = sign_in(browser, app, "anna", "usage")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.get_by_text("Each user:").wait_for()
    usage = Faults(page)
    usage.scan("usage")
    assert usage.found == {}

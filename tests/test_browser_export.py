"""Exports of timelines in a real Chromium: the page that plays the clip, subtitles as a track, and the menus of the Timeline view."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.export import FORMATS, ZIP, Content, write
from smolvlm_core.video import open_clip
from tests.clips import remuxed, write_numbered
from tests.test_browser import CHROMIUM, FLAGS, address, downloaded, page, playwright, pytestmark  # noqa: F401
from tests.test_browser_timeline import Film, film, open_made  # noqa: F401
from tests.test_timeline_export import HOSTILE, SHOWN, hostile

expect = playwright.expect
LOADED = "v => new Promise(done => v.readyState > 1 ? done() : v.onloadeddata = () => done())"


@pytest.fixture
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def with_clip(path: Path) -> Content:
    """A clip of 18 s that begins at 5 s of its file, with one hostile description every 2 s."""
    clip = remuxed(write_numbered(path / "a.mkv", 180), path / "walk.mkv", 5.0)  # type: ignore[arg-type]
    content = hostile()
    return replace(content, timeline=replace(content.timeline, clip=clip_of_file(clip)), clip=clip)


@pytest.mark.parametrize("beside", [False, True])
def test_the_page_plays_the_clip_from_a_file(browser: playwright.Browser, tmp_path: Path, beside: bool) -> None:
    content = with_clip(tmp_path)
    assert content.timeline.clip.facts is not None
    start = content.timeline.clip.facts.start_seconds
    if beside:
        write(content, ZIP, tmp_path / "a.zip")
        zipfile.ZipFile(tmp_path / "a.zip").extractall(tmp_path / "a")
    else:
        write(content, FORMATS["html"], tmp_path / "a.html")
    page, said, asked = browser.new_page(), [], []
    page.on("console", lambda line: said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / ("a/timeline.html" if beside else "a.html")).as_uri())
    video, items = page.locator("video"), page.locator(".segments > li")
    video.evaluate(LOADED)
    expect(items).to_have_count(len(HOSTILE))
    for number in (3, 7, 0):
        items.nth(number).get_by_role("button").first.click()
        expect(page.locator("li[aria-current]")).to_have_count(1)
        expect(items.nth(number)).to_have_attribute("aria-current", "true")
        assert video.evaluate("v => v.currentTime") == pytest.approx(start + number * 2, abs=0.02)
    video.evaluate(f"v => {{ v.currentTime = {start + 3.95}; v.muted = true; return v.play() }}")
    expect(items.nth(2)).to_have_attribute("aria-current", "true")
    video.evaluate("v => v.pause()")
    expect(items.nth(2).locator("summary")).to_have_text("Edited")
    items.nth(2).locator("summary").click()
    expect(items.nth(2)).to_contain_text(HOSTILE[2])
    page.get_by_label("Find").fill("TEXT 日本")
    expect(page.locator(".segments > li:visible")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 of 9")
    assert page.title() == "walk.mkv"
    assert said == [] and not [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]


@pytest.mark.parametrize("key", ["vtt", "chapters-vtt"])
def test_chromium_takes_the_subtitles_as_they_are(browser: playwright.Browser, tmp_path: Path, key: str) -> None:
    write(hostile(3600.5), FORMATS[key], tmp_path / "a.vtt")
    page = browser.new_page()
    page.route(
        "http://lens.test/",
        lambda route: route.fulfill(body="<video><track src=a.vtt default></video>", content_type="text/html"),
    )
    page.route("http://lens.test/a.vtt", lambda route: route.fulfill(path=tmp_path / "a.vtt", content_type="text/vtt"))
    page.goto("http://lens.test/")
    cues = page.evaluate(
        """async () => {
          const track = document.querySelector("track"); track.track.mode = "showing";
          if (track.readyState < 2) await new Promise((done, fail) => { track.onload = done; track.onerror = fail; });
          return [...track.track.cues].map((cue) => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent]);
        }"""
    )
    shown = [number for number, text in enumerate(HOSTILE) if text.strip()]
    if key == "vtt":
        assert [text for _, _, text in cues] == ["\n".join(lines) for lines in SHOWN]
    else:
        shown = list(range(len(HOSTILE)))
        assert cues[0][2] == HOSTILE[0] and cues[5][2] == "Part 6"
    assert [(start, end) for start, end, _ in cues] == [(n * 3600.5, (n + 1) * 3600.5) for n in shown]


def press_until(page: playwright.Page, label: str, text: str) -> None:
    """A press during a run of the page is lost."""
    for _ in range(5):
        page.get_by_role("button", name=label, exact=True).click()
        try:
            page.get_by_text(text).wait_for(timeout=15_000)
            return
        except playwright.TimeoutError:
            continue
    raise AssertionError(page.locator(".st-key-timeline_cut").inner_text())


def choose(page: playwright.Page, menu: playwright.Locator, option: str) -> None:
    """A page that is drawn again meanwhile closes an open list: then it is opened again."""
    found = page.get_by_role("option", name=option)
    for _ in range(6):
        menu.click()
        with contextlib.suppress(playwright.TimeoutError):
            found.click(timeout=10_000)
            return
        page.keyboard.press("Escape")
    raise AssertionError(f"{option} cannot be chosen")


def test_a_timeline_is_exported_and_cut(page: playwright.Page, address: str, film: Film, tmp_path: Path) -> None:
    open_made(page, address, film)
    page.get_by_text("Export", exact=True).click()
    menu = page.get_by_role("combobox", name="Format")
    choose(page, menu, "Subtitles (WebVTT)")
    page.get_by_text("for players in web pages").wait_for()
    download = downloaded(page, "Download")
    assert download.suggested_filename == "film.vtt" and Path(download.path()).read_text("utf-8").startswith("WEBVTT\n")
    choose(page, menu, "Markdown with frames (zip)")
    press_until(page, "Make the file", "Download film.zip")
    link = page.get_by_role("link", name="Download film.zip")
    with page.expect_download() as made:
        link.click()
    with zipfile.ZipFile(made.value.path()) as archive:
        assert "timeline.md" in archive.namelist() and len(archive.namelist()) > 6

    page.get_by_text("Cut the clip").click()
    press_until(page, "Cut", "Nothing is chosen.")
    page.get_by_role("radio", name="Times").click()
    page.get_by_label("Times", exact=True).last.fill("5-6, 0:13-0:14")
    page.keyboard.press("Enter")
    press_until(page, "Cut", "begins 1.00 s earlier, at the keyframe at 0:04")
    with page.expect_download() as made:
        page.get_by_role("link", name="Download film cut.mp4").click()
    Path(made.value.path()).rename(tmp_path / "cut.mp4")
    clip = open_clip(tmp_path / "cut.mp4")
    clip.close()
    assert clip.facts.duration_seconds >= 4
    expect(page.get_by_text("Nothing is chosen.")).to_have_count(0)

"""A clip in a real Chromium: its range typed and slid, its current frame, and where player and chat stand."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import re
from pathlib import Path

from tests.clips import write_numbered
from tests.test_browser import (  # noqa: F401
    address,
    ask,
    finished,
    number_of,
    page,
    playwright,
    pytestmark,
)

expect = playwright.expect
SAMPLE = Path(__file__).resolve().parent.parent / "assets" / "gallery" / "circle-moves-right.mp4"


def open_clip(page: playwright.Page, path: Path) -> None:
    page.get_by_role("link", name="Video chat").click()
    page.get_by_role("heading", name="Video chat").wait_for()
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(path)


def hour(tmp_path: Path) -> Path:
    """A frame each 10 s: numbers 75 to 78 are shown from 12:30 to 13:00."""
    write_numbered(tmp_path / "hour.mp4", 361, times_ms=[10_000 * number for number in range(361)])
    return tmp_path / "hour.mp4"


def test_a_range_is_typed_and_slid(page: playwright.Page, tmp_path: Path) -> None:
    open_clip(page, hour(tmp_path))
    start, end = page.get_by_role("textbox", name="Start"), page.get_by_role("textbox", name="End")
    ends = page.get_by_test_id("stSlider").filter(has=page.get_by_role("slider", name="Range"))
    frames = page.locator(".strip li")

    def shows(first: str, last: str, *, typed: tuple[str, str] | None = None) -> None:
        """The slider, and in the fields the same times unless others are `typed`."""
        expect(ends.get_by_test_id("stSliderThumbValue")).to_have_text([first, last])
        expect(start).to_have_value((typed or (first, last))[0])
        expect(end).to_have_value((typed or (first, last))[1])

    shows("0:00", "60:00.1")
    start.fill("750")
    end.fill("13:00")
    page.keyboard.press("Enter")
    shows("12:30", "13:00")
    expect(frames).to_have_count(4)
    assert [text.split(" ")[0] for text in frames.all_inner_texts()] == ["12:30.00", "12:40.00", "12:50.00", "13:00.00"]

    for wrong, problem in (
        ("soon", "“soon” is not a time. Write minutes and seconds, such as 12:30."),
        ("12:00", "The end is before the start (12:30)."),
        ("70:00", "The clip ends at 60:00.1."),
    ):
        end.fill(wrong)
        page.keyboard.press("Enter")
        page.get_by_text(problem).wait_for()
        shows("12:30", "13:00", typed=("12:30", wrong))
    expect(frames).to_have_count(4)  # the frames of the range in use
    end.fill("1:00:00")
    page.keyboard.press("Enter")
    shows("12:30", "60:00")
    expect(page.get_by_text("The clip ends")).to_have_count(0)
    page.get_by_role("slider", name="Range").first.focus()
    page.keyboard.press("ArrowRight")
    shows("12:35", "60:00")
    page.get_by_text("58:00.00").or_(page.get_by_text("60:00.00")).first.wait_for()


def test_one_frame_is_the_current_one(page: playwright.Page, tmp_path: Path) -> None:
    write_numbered(tmp_path / "a.mp4", 40)
    open_clip(page, tmp_path / "a.mp4")
    frames, current = page.locator(".strip .go"), page.locator(".strip .go[aria-current]")
    expect(frames).to_have_count(8)
    video = page.locator("video")
    video.evaluate("v => new Promise(done => v.readyState > 1 ? done() : v.onloadeddata = () => done())")

    def is_current(label: str) -> None:
        expect(current).to_have_count(1)
        expect(current).to_contain_text(label)
        marked = frames.evaluate_all(
            "all => all.filter(go => getComputedStyle(go).borderTopColor !== 'rgba(0, 0, 0, 0)').length"
        )
        assert marked == 1

    is_current("#0")
    frames.nth(3).click()
    is_current("#16")
    video.evaluate("v => { v.currentTime = 2.5 }")  # between two frames, while the fourth is focused
    is_current("#22")
    page.get_by_role("button", name="Add the frame at").click()
    expect(frames).to_have_count(9)
    is_current("#25")
    page.get_by_role("button", name="Remove frame 25").click()
    expect(frames).to_have_count(8)
    is_current("#22")
    page.get_by_role("button", name="Remove frame 0").click()
    video.evaluate("v => { v.currentTime = 0 }")  # before all frames
    is_current("#5")
    frames.nth(6).focus()
    video.evaluate("v => { v.playbackRate = 2; v.play() }")
    expect(current).to_contain_text("#39")  # at the end
    is_current("#39")


def test_player_and_chat_stand_side_by_side_where_there_is_room(page: playwright.Page) -> None:
    open_clip(page, SAMPLE)
    page.get_by_text("(288 image,").wait_for()
    fold = page.get_by_role("button", name=re.compile("(Show|Hide) circle-moves-right.mp4"))
    expect(fold).not_to_be_visible()
    for count in (1, 2, 3):
        ask(page, "In which direction does the circle move?")
        finished(page, count)
    player, last = page.locator("video"), page.get_by_test_id("stChatMessage").last
    last.scroll_into_view_if_needed()
    left, right = player.bounding_box(), last.bounding_box()
    assert left and right and left["x"] + left["width"] <= right["x"]
    expect(player).to_be_in_viewport(ratio=0.9)

    page.set_viewport_size({"width": 390, "height": 844})
    expect(player).not_to_be_visible()  # the chat is what one came for
    fold.click()
    expect(player).to_be_visible()
    above, below = player.bounding_box(), page.get_by_test_id("stChatMessage").first.bounding_box()
    assert above and below and above["y"] + above["height"] <= below["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    fold.click()
    expect(player).not_to_be_visible()


def test_the_clip_is_open_on_a_narrow_screen_until_a_question(page: playwright.Page) -> None:
    open_clip(page, SAMPLE)
    page.get_by_text("(288 image,").wait_for()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("video")).to_be_visible()
    ask(page, "In which direction does the circle move?")
    finished(page)
    expect(page.locator("video")).not_to_be_visible()


def test_facts_are_one_line_and_faults_say_what_to_do(page: playwright.Page, tmp_path: Path) -> None:
    path = hour(tmp_path)
    open_clip(page, path)
    page.get_by_text(re.compile(rf"H\.264 · {path.stat().st_size / 1000:.0f} KB · 60:00 · 160 × 96 px")).wait_for()
    page.get_by_role("button", name="About this clip").click()
    page.get_by_text("361 frames").wait_for()
    page.keyboard.press("Escape")

    write_numbered(tmp_path / "cut.mp4", 300, container_options={"movflags": "faststart"})
    cut = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(cut[: len(cut) * 6 // 10])
    open_clip(page, tmp_path / "cut.mp4")
    page.get_by_text(re.compile(r"The file says 30\.0 s, but only the first 1\d\.\d s can be read\.")).first.wait_for()

    write_numbered(tmp_path / "novideo.mp4", 0, sound_seconds=2.0)
    open_clip(page, tmp_path / "novideo.mp4")
    page.get_by_text("novideo.mp4 contains only audio. Choose a file with video.").wait_for()
    assert page.get_by_test_id("stException").count() == 0


def test_a_frame_of_the_strip_opens_whole(page: playwright.Page, tmp_path: Path) -> None:
    """Before it is sent, so it is not stored yet."""
    write_numbered(tmp_path / "a.mp4", 40)
    open_clip(page, tmp_path / "a.mp4")
    page.get_by_role("button", name="Open frame 22").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("a.mp4 at 0:02.20")
    dialog.locator("img").evaluate("i => i.complete ? i.decode() : new Promise(done => i.onload = done)")
    data = dialog.locator("img").evaluate(
        "i => { const c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight;"
        "c.getContext('2d').drawImage(i, 0, 0); return c.toDataURL() }"
    )
    assert number_of(data) == 22
    dialog.get_by_role("button", name="Next picture").click()
    expect(dialog).to_contain_text("a.mp4 at 0:02.70")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()

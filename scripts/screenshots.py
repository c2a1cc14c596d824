"""Takes the README's screenshots from the running app.

streamlit run app.py &
python -m scripts.screenshots --url http://localhost:8501 --out docs/screenshots
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from training.films import random_film, write_film

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def ask(page: Page, question: str, count: int) -> None:
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.keyboard.press("Enter")
    expect(page.get_by_text("What the model was given")).to_have_count(count, timeout=120_000)
    page.wait_for_timeout(1500)


def image_page(page: Page, out: Path, name: str) -> None:
    page.get_by_test_id("stMain").get_by_role("button", name="Describe this image.").click()
    expect(page.get_by_text("What the model was given")).to_have_count(1, timeout=120_000)
    ask(page, "Where is the purple ring?", 2)
    page.screenshot(path=out / name)


def video_page(page: Page, out: Path, name: str) -> None:
    page.get_by_test_id("stMain").get_by_role("button", name="What happens in the video?").click()
    expect(page.get_by_text("What the model was given")).to_have_count(1, timeout=120_000)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / name)


def compare_page(page: Page, out: Path, name: str) -> None:
    page.get_by_role("button", name="Use", exact=True).nth(3).click()
    page.get_by_text("4-four-corners.png").wait_for()
    page.get_by_label("Questions, one per line").fill("Describe the image.")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("button", name="Prefer")).to_have_count(2, timeout=120_000)
    page.wait_for_timeout(1500)  # after the last update
    page.get_by_role("button", name="HTML report").scroll_into_view_if_needed()
    page.screenshot(path=out / name)


def batch_page(page: Page, out: Path, name: str) -> None:
    page.get_by_role("button", name="Try it with the samples").click()
    page.get_by_text("6 items").wait_for()
    page.get_by_role("button", name="Start").click()
    table = page.get_by_test_id("stDataFrame")
    row = table.locator("[role=row]", has_text="circle-moves-right.mp4")
    row.wait_for(state="attached")
    page.get_by_role("button", name="Continue").wait_for()
    page.wait_for_timeout(1500)  # after the last update
    number = int(row.get_attribute("aria-rowindex") or 7) - 1
    # Drawn on a canvas: the header and each row are 35 px high.
    table.click(position={"x": 120, "y": 35 * number + 17})
    page.get_by_text("0:03.33").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=out / name)


def timeline_page(page: Page, out: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _, scenes = random_film(random.Random(900_001), 6, 40)
        film = write_film(Path(folder) / "six-events.mp4", scenes, 10)
        page.locator("input[type=file]").first.set_input_files(film)
        start = page.get_by_role("button", name="Start", exact=True)
        page.get_by_role("textbox", name="Find moments").wait_for()
        if start.is_visible():  # else its timeline is there from the picture before
            start.click()
        page.get_by_text("A brown circle appears.").wait_for(timeout=120_000)
        page.get_by_role("textbox", name="Find moments").fill("When does the brown circle appear?")
        page.get_by_role("button", name="Find", exact=True).click()
        page.get_by_text("1 moment").wait_for(timeout=120_000)
        page.wait_for_timeout(1500)
        page.screenshot(path=out / name)


def live_page(page: Page, out: Path, name: str) -> None:
    page.get_by_text("Clip", exact=True).click()
    page.get_by_role("button", name="Is there a red circle?").click()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("The clip ended.").wait_for(timeout=120_000)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / name)


PAGES: dict[str, tuple[str, str, Callable[[Page, Path, str], None]]] = {
    "image-chat": ("", "Image chat", image_page),
    "video-chat": ("/video_chat", "Video chat", video_page),
    "timeline": ("/video_chat?view=timeline", "Video chat", timeline_page),
    "live": ("/live", "Live", live_page),
    "batch": ("/batch", "Batch", batch_page),
    "compare": ("/compare", "Compare", compare_page),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--url", default="http://localhost:8501")
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    parser.add_argument("--only", nargs="*", choices=PAGES, help="pages; all by default")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for scheme, width, height, suffix in (
            ("light", 1280, 1000, ""),
            ("dark", 1280, 1000, "-dark"),
            ("light", 390, 900, "-narrow"),
        ):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})  # type: ignore[arg-type]
            page = context.new_page()
            page.set_default_timeout(60_000)
            for name in args.only or PAGES:
                path, heading, take = PAGES[name]
                page.goto(f"{args.url}{path}")
                page.get_by_role("heading", name=heading, exact=True).wait_for()
                take(page, args.out, f"{name}{suffix}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()

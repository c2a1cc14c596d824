"""Takes the README's screenshots from the running app.

streamlit run app.py &
python scripts/screenshots.py --url http://localhost:8501 --out docs/screenshots
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--url", default="http://localhost:8501")
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
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
            page.goto(args.url)
            page.get_by_role("heading", name="Image chat").wait_for()
            image_page(page, args.out, f"image-chat{suffix}.png")
            page.goto(f"{args.url}/video_chat")
            page.get_by_role("heading", name="Video chat").wait_for()
            video_page(page, args.out, f"video-chat{suffix}.png")
            page.goto(f"{args.url}/batch")
            page.get_by_role("heading", name="Batch").wait_for()
            batch_page(page, args.out, f"batch{suffix}.png")
            page.goto(f"{args.url}/compare")
            page.get_by_role("heading", name="Compare").wait_for()
            compare_page(page, args.out, f"compare{suffix}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()

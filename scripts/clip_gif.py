"""Records the README's GIF of the clip workflow from the running app: a sample, its frames, an answer, other frames, another answer.

streamlit run app.py &
python scripts/clip_gif.py --url http://localhost:8501 --out docs/screenshots/video-chat.gif
"""

from __future__ import annotations

import argparse
import io
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTH, HEIGHT = 1120, 760  # px: player and chat stand side by side
SHOWN_WIDTH = 800
COLORS = 128
MAX_BYTES = 3 * 2**20
POINTER = """
([x, y]) => {
  let dot = document.getElementById("pointer");
  if (!dot) {
    dot = document.createElement("div");
    dot.id = "pointer";
    dot.style.cssText = "position:fixed;width:18px;height:18px;margin:-9px 0 0 -9px;border-radius:50%;z-index:1000000;" +
      "background:rgba(200,30,60,.55);border:2px solid #fff;pointer-events:none";
    document.body.append(dot);
  }
  dot.style.left = x + "px";
  dot.style.top = y + "px";
}
"""


@dataclass
class Recorder:
    """Frames of the page and how long each is shown, in seconds."""

    page: Page
    frames: list[Image.Image] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def shoot(self, seconds: float) -> None:
        """What is on the page now. The same picture again only lasts longer."""
        image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        small = image.resize((SHOWN_WIDTH, SHOWN_WIDTH * HEIGHT // WIDTH), Image.Resampling.LANCZOS)
        if self.frames and self.frames[-1] == small:
            self.seconds[-1] += seconds
        else:
            self.frames.append(small)
            self.seconds.append(seconds)

    def watch(self, until: Locator, most_seconds: float = 60) -> None:
        """Frames until something is on the page."""
        began = time.monotonic()
        while not until.is_visible():
            if time.monotonic() - began > most_seconds:
                raise TimeoutError(f"{until} did not appear")
            self.shoot(0.2)

    def click(self, target: Locator) -> None:
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None
        self.page.evaluate(POINTER, [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
        self.shoot(0.9)
        target.click()

    def save(self, out: Path) -> None:
        palette = self.frames[-1].quantize(COLORS)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        durations = [int(seconds * 1000) for seconds in self.seconds]
        frames[0].save(out, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def record(page: Page) -> Recorder:
    recorder = Recorder(page)
    given = page.get_by_text("What the model was given")
    recorder.shoot(1.2)
    recorder.click(page.get_by_role("button", name="Which way does the circle move?"))
    recorder.watch(given.first)
    expect(page.get_by_role("button", name="Answer again")).to_be_visible()
    recorder.shoot(2.5)
    recorder.click(page.locator(".strip .go", has_text="#33"))
    page.wait_for_timeout(400)
    recorder.shoot(1.2)
    recorder.click(page.get_by_role("button", name="Remove frame 42"))
    expect(page.get_by_role("button", name="Remove frame 42")).to_have_count(0)
    recorder.shoot(1.5)
    page.get_by_test_id("stChatInputTextArea").press_sequentially("What color is the circle?", delay=20)
    recorder.shoot(0.8)
    page.keyboard.press("Enter")
    recorder.watch(given.nth(1))
    page.wait_for_timeout(1000)
    recorder.shoot(4.0)
    return recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--url", default="http://localhost:8501")
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots/video-chat.gif"))
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(60_000)
        page.goto(f"{args.url}/video_chat")
        page.get_by_role("button", name="Which way does the circle move?").wait_for()
        page.wait_for_timeout(1500)
        record(page).save(args.out)
        browser.close()
    size = args.out.stat().st_size
    print(f"{args.out}: {size / 2**20:.1f} MiB")
    if size > MAX_BYTES:
        raise SystemExit(f"More than {MAX_BYTES // 2**20} MiB: use fewer colors, or a smaller width.")


if __name__ == "__main__":
    main()

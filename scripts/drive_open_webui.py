"""Asks about a picture in Open WebUI's page, in Chromium, with this project's API behind it. Starts and ends both servers.

    python -m scripts.drive_open_webui --open-webui FOLDER/bin/open-webui --screenshot open-webui.png

Open WebUI needs a virtual environment of its own: see docs/open-webui.md. Its data goes to a temporary folder. The exit code is 1 where the
answer in the page does not name the picture's color, or the API did not get the picture.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image, ImageDraw
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
MODEL = "smolvlm-shapes"
QUESTION = "What color is the circle?"
START_SECONDS = 300  # Open WebUI's first start makes its database


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], address: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A server, from its first answer until the end of the block."""
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out) as server:
        try:
            ends = time.monotonic() + START_SECONDS
            while not answers(address):
                if server.poll() is not None or time.monotonic() > ends:
                    raise SystemExit(f"{command[0]} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.5)
            yield
        finally:
            server.terminate()
            server.wait(30)


def answers(address: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(address, trust_env=False).status_code == 200
    return False


def open_webui_environment(api: str, data: Path) -> dict[str, str]:
    """Without accounts and background tasks, and with its plain way of calling a model (docs/open-webui.md says why)."""
    off = ("TITLE", "TAGS", "FOLLOW_UP", "AUTOCOMPLETE")
    return {
        **os.environ,
        **{f"ENABLE_{name}_GENERATION": "false" for name in off},
        "DATA_DIR": str(data),
        "WEBUI_AUTH": "false",
        "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
        "ENABLE_OLLAMA_API": "false",
        "OPENAI_API_BASE_URL": api,
        "OPENAI_API_KEY": "none",
        "DEFAULT_MODELS": MODEL,
        "DEFAULT_MODEL_PARAMS": '{"function_calling":"legacy"}',
    }


def drawn(color: str) -> bytes:
    image = Image.new("RGB", (320, 320), "white")
    ImageDraw.Draw(image).ellipse((80, 80, 240, 240), fill=color)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def ask(page: Page, color: str) -> str:
    """The answer that the page shows."""
    page.goto("/")
    box = page.locator("#chat-input")
    box.wait_for()
    with contextlib.suppress(Exception):  # news of the version
        page.get_by_role("button", name="Okay, Let's Go!").click(timeout=3000)
    page.locator("input[type=file]").first.set_input_files(
        {"name": "picture.png", "mimeType": "image/png", "buffer": drawn(color)}
    )
    page.locator("img[src^='data:image'], img[src*='/files/']").first.wait_for()
    box.click()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    answer = page.locator(".chat-assistant").last
    answer.get_by_text(re.compile(r"\w\.")).first.wait_for(timeout=120_000)
    return answer.inner_text().strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--open-webui", type=Path, required=True, help="the program of its own virtual environment")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--screenshot", type=Path)
    args = parser.parse_args()
    api, web = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    serve = [sys.executable, "-m", "smolvlm_core", "serve", "--model", MODEL, "--port", api.rsplit(":", 1)[1]]
    webui = [str(args.open_webui), "serve", "--host", "127.0.0.1", "--port", web.rsplit(":", 1)[1]]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        data = Path(folder)
        held.enter_context(running(serve, f"{api}/health", dict(os.environ), data / "serve.log"))
        environment = open_webui_environment(f"{api}/v1", data)
        held.enter_context(running(webui, f"{web}/health", environment, data / "open-webui.log"))
        chromium = held.enter_context(sync_playwright()).chromium
        browser = held.enter_context(
            contextlib.closing(chromium.launch(executable_path=args.chromium, args=["--no-sandbox"]))
        )
        said = {}
        for color in ("red", "blue"):
            page = browser.new_page(base_url=web, viewport={"width": 1280, "height": 800})
            try:
                said[color] = ask(page, color)
            finally:
                if args.screenshot is not None:
                    page.screenshot(path=args.screenshot)
            page.close()
        metrics = httpx.get(f"{api}/metrics", trust_env=False).text
    print(*(f"{color}: {answer!r}" for color, answer in said.items()), sep="\n")
    pictures = 'tokens_total{kind="image"' in metrics
    right = all(color in answer.lower() for color, answer in said.items())
    print("right" if right and pictures else "wrong")
    return 0 if right and pictures else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Measures the wait of a new user: from `streamlit run` to the first painted page and to the first answer.

    python -m benchmarks.startup --repeat 3

Each run starts a new server with an empty data folder and opens a new page in headless Chromium. "First answer" uses a
sample image and asks as soon as the page accepts a question.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_server(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)


def one_run(page: Page) -> tuple[float, float, float]:
    """Seconds from start to painted page, from start to first answer, and from question to answer."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        environment = {**os.environ, "SMOLVLM_LENS_DATA": data}
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        began = time.perf_counter()
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_server(port)
            page.goto(f"http://localhost:{port}")
            sample = page.get_by_role("button", name="What color is the circle?")
            sample.wait_for()
            painted = time.perf_counter() - began
            asked = time.perf_counter()
            sample.click()
            page.get_by_text("What the model was given").wait_for(timeout=120_000)
            answered = time.perf_counter()
        finally:
            server.terminate()
            server.wait(20)
    return painted, answered - began, answered - asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        runs = []
        for _ in range(args.repeat):
            page = browser.new_page()
            runs.append(one_run(page))
            page.close()
        browser.close()
    for name, column in zip(
        ("first painted page", "first answer", "question to answer, model still loading"), zip(*runs)
    ):
        print(f"{name}: {statistics.median(column):.1f} s (each run: {', '.join(f'{value:.1f}' for value in column)})")


if __name__ == "__main__":
    main()

"""Eight users at once: are answers mixed up, how long do pages take, does memory grow?

    python -m benchmarks.load --minutes 10 --tab-minutes 2

Starts the app with an empty data folder. Eight raw WebSocket sessions (benchmarks/streamlit_client.py) first only run the pages
again, one after another; then each asks the bundled model about a picture of its own color, again and again, opens pages in
between, and repeats fragments as browsers do. Then eight tabs in Chromium do the same. Fails on an exception, a failed answer or
an answer with the color of somebody else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
from PIL import Image, ImageDraw

from benchmarks.startup import FLAGS, ROOT, free_port, wait_for_server
from benchmarks.streamlit_client import Broken, Run, StreamlitClient

COLORS = {
    "red": (220, 20, 40),
    "blue": (30, 60, 220),
    "green": (34, 150, 40),
    "yellow": (250, 225, 30),
    "purple": (140, 30, 200),
    "orange": (255, 140, 0),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
}
PAGES = ("", "video_chat", "batch", "compare", "backends")
QUESTION = "What color is the circle?"
QUESTIONS_PER_CONVERSATION = 4
TARGET_SECONDS = 0.3  # rerun, 95th percentile, while one model answers


@dataclass
class Ledger:
    """What was measured. Shared by the sessions' threads. `errors`: in words. `reruns`: by what the app did meanwhile."""

    answers: int = 0
    errors: list[str] = field(default_factory=list)
    reruns: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    answer_seconds: list[float] = field(default_factory=list)
    answering: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_run(self, run: Run, was_answering: bool) -> None:
        with self.lock:
            kind = "while a model answers" if was_answering or self.answering else "idle"
            self.reruns[kind].append(run)

    def add_error(self, text: str) -> None:
        with self.lock:
            self.errors.append(text)


def picture(color: str) -> bytes:
    image = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(image).ellipse((75, 75, 225, 225), fill=COLORS[color])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def colors_in(texts: list[str]) -> set[str]:
    """The answers are one color and a full stop."""
    return {word for text in texts for word in COLORS if re.fullmatch(rf"\W*{word}\W*", text.strip(), re.I)}


@contextlib.contextmanager
def app(port: int) -> Iterator[psutil.Process]:
    """The app with an empty data folder; its automatic check is off, so that the questions are the only work."""
    with tempfile.TemporaryDirectory() as data:
        environment = {**os.environ, "SMOLVLM_LENS_DATA": data, "SMOLVLM_LENS_CHECK": "off", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_server(port)
            yield psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait(20)


def memory_bytes(process: psutil.Process) -> int:
    """Resident memory of the app and the processes it started."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


def browse(client: StreamlitClient, ledger: Ledger, pages: tuple[str, ...], rest_seconds: float) -> None:
    """Opens pages, runs each again, and rests on it as a tab does."""
    for page in pages:
        for path in (page, None):
            was_answering = ledger.answering > 0
            ledger.add_run(client.rerun(path), was_answering)
        client.rest(rest_seconds)


def ask(client: StreamlitClient, ledger: Ledger, color: str, turn: int) -> None:
    if turn % QUESTIONS_PER_CONVERSATION == 0:
        client.rerun(**{"new_conversation_image": ("trigger_value", True)})
        client.upload(r"image_media_\d+", f"{color}.png", picture(color), "image/png")
    with ledger.lock:
        ledger.answering += 1
    began = time.monotonic()
    try:
        run = client.rerun(ask_image=("chat_input_value", QUESTION))
    finally:
        with ledger.lock:
            ledger.answering -= 1
    found = colors_in(run.texts)
    if found != {color}:
        raise Broken(f"{color}: the page shows answers with {sorted(found) or 'no color'}: {run.texts[-6:]}")
    with ledger.lock:
        ledger.answers += 1
        ledger.answer_seconds.append(time.monotonic() - began)


def session(url: str, color: str, ledger: Ledger, idle_until: float, until: float, rest_seconds: float) -> None:
    """One user. First only pages, then questions with pages in between: at least one page, and two questions."""
    order = random.Random(color)
    try:
        with StreamlitClient(url) as client:
            client.rerun("")
            browse(client, ledger, (order.choice(PAGES),), rest_seconds)
            while time.monotonic() < idle_until:
                browse(client, ledger, (order.choice(PAGES),), rest_seconds)
            turn = 0
            while turn < 2 or time.monotonic() < until:
                client.rerun("")
                ask(client, ledger, color, turn)
                turn += 1
                browse(client, ledger, tuple(order.sample(PAGES, 2)), rest_seconds)
    except Exception as error:  # whatever goes wrong in a user's thread is a result
        ledger.add_error(f"{color}: {type(error).__name__}: {error}")


def run_sessions(url: str, minutes: float, idle_minutes: float, rest_seconds: float, count: int = 8) -> Ledger:
    ledger, now = Ledger(), time.monotonic()
    ends = (now + idle_minutes * 60, now + minutes * 60)
    threads = [
        threading.Thread(target=session, args=(url, color, ledger, *ends, rest_seconds), daemon=True)
        for color in list(COLORS)[:count]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ledger


def run_tabs(url: str, minutes: float) -> Ledger:
    """Eight tabs, each with its own cookies. All ask, then all are waited for."""
    import shutil

    from playwright.sync_api import sync_playwright

    ledger, until = Ledger(), time.monotonic() + minutes * 60
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tabs = {color: browser.new_context().new_page() for color in COLORS}
        for color, tab in tabs.items():
            tab.set_default_timeout(180_000)
            tab.on("pageerror", lambda error, color=color: ledger.add_error(f"{color}: {error}"))
        turn = 0
        while time.monotonic() < until:
            began = time.monotonic()
            for color, tab in tabs.items():
                if turn % QUESTIONS_PER_CONVERSATION == 0:
                    tab.goto(url)
                    file = {"name": f"{color}.png", "mimeType": "image/png", "buffer": picture(color)}
                    tab.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(file)
                    tab.get_by_text("(180 image,").wait_for()
                tab.get_by_test_id("stChatInputTextArea").fill(QUESTION)
                tab.keyboard.press("Enter")
            asked = turn % QUESTIONS_PER_CONVERSATION + 1
            for color, tab in tabs.items():
                tab.get_by_text("What the model was given").nth(asked - 1).wait_for()
                said = tab.get_by_test_id("stChatMessage").all_inner_texts()
                found = colors_in([line for text in said for line in text.splitlines()])
                if found != {color} or tab.get_by_test_id("stException").count():
                    ledger.add_error(f"{color}: the tab shows {sorted(found)}: {said}")
                ledger.answers += 1
            ledger.answer_seconds.append(time.monotonic() - began)
            turn += 1
        browser.close()
    return ledger


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def print_reruns(ledger: Ledger) -> None:
    for kind, runs in ledger.reruns.items():
        seconds = [run.seconds for run in runs]
        print(
            f"reruns, {kind}: {len(seconds)}, p50 {statistics.median(seconds) * 1000:.0f} ms, "
            f"p95 {percentile(seconds, 0.95) * 1000:.0f} ms, slowest {max(seconds) * 1000:.0f} ms"
        )
    slowest: dict[str, float] = defaultdict(float)
    for run in (run for runs in ledger.reruns.values() for run in runs):
        slowest[run.page or "image_chat"] = max(slowest[run.page or "image_chat"], run.seconds)
    for page, seconds in sorted(slowest.items()):
        print(f"slowest rerun of {page}: {seconds * 1000:.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of the raw sessions; 0 for none (default: 10)")
    parser.add_argument("--tab-minutes", type=float, default=2, help="of the tabs in Chromium; 0 for none (default: 2)")
    args = parser.parse_args()
    port, errors = free_port(), list[str]()
    with app(port) as process:
        url = f"http://localhost:{port}"
        if args.minutes > 0:
            warm = run_sessions(url, 0.5, 0.1, 1.0)  # the model is loaded, every page was opened
            start = memory_bytes(process)
            ledger = run_sessions(url, args.minutes, args.minutes * 0.2, 2.0)
            print(f"8 sessions, {args.minutes:g} min: {ledger.answers} answers, {len(ledger.errors)} errors")
            if ledger.answer_seconds:
                print(f"question to end of the answer: p50 {statistics.median(ledger.answer_seconds):.1f} s")
            print_reruns(ledger)
            print(f"memory: {start / 2**20:,.0f} MiB at the start, {memory_bytes(process) / 2**20:,.0f} MiB at the end")
            busy = [run.seconds for run in ledger.reruns["while a model answers"]]
            print(
                f"target: p95 below {TARGET_SECONDS * 1000:.0f} ms while a model answers: "
                + ("met" if busy and percentile(busy, 0.95) < TARGET_SECONDS else "missed")
            )
            errors += warm.errors + ledger.errors
        if args.tab_minutes > 0:
            ledger = run_tabs(url, args.tab_minutes)
            print(
                f"8 tabs, {args.tab_minutes:g} min: {ledger.answers} answers, {len(ledger.errors)} errors; a round of 8 questions: p50 {statistics.median(ledger.answer_seconds):.1f} s"
            )
            errors += ledger.errors
    for error in errors:
        print(f"error: {error}")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())

"""Compare and Backends in a real Chromium: votes without names, cold and warm answers, errors beside their forms, restarts."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.test_browser import CHROMIUM, FLAGS, ROOT, address, downloaded, page, playwright, pytestmark, samples

__all__ = ["address", "page", "pytestmark"]
expect = playwright.expect
expect.set_options(timeout=60_000)  # a busy machine answers slowly
QUESTIONS = ["What color is the circle?", "What shape is it?", "What is in the image?"]


def begin(page: playwright.Page, address: str, *options: str) -> None:
    """Compare the two precisions of the bundled model on three questions."""
    page.goto(f"{address}/compare")
    page.get_by_role("heading", name="Compare", exact=True).wait_for()
    samples(page).first.click()
    page.get_by_text("1-red-circle.png").wait_for()
    page.get_by_label("Questions, one per line").fill("\n".join(QUESTIONS))
    for option in options:
        page.get_by_text(option, exact=True).click()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_url("**comparison=**")


def report(page: playwright.Page, label: str) -> str:
    return downloaded(page, label).path().read_text()


def test_a_blind_vote_ends_in_a_tie_or_finds_both_bad(page: playwright.Page, address: str) -> None:
    begin(page, address, "Hide the names until I have voted")
    expect(page.get_by_role("button", name="Tie")).to_have_count(3)
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("Answer A", exact=True)).to_have_count(3)
    assert main.get_by_text("transformers fp32", exact=True).count() == 0 == main.get_by_text("First token:").count()
    page.get_by_role("button", name="Tie").first.click()
    expect(page.locator(".stMarkdownBadge", has_text="Tie")).to_be_visible()
    page.get_by_role("button", name="Both bad").first.click()
    expect(page.locator(".stMarkdownBadge", has_text="Both bad")).to_be_visible()
    expect(page.get_by_role("button", name="HTML report")).to_have_count(0)
    page.get_by_role("button", name="Prefer").first.click()
    told = json.loads(report(page, "JSON"))
    assert [question["vote"]["outcome"] for question in told["questions"]] == ["tie", "bad", "preferred"]
    assert told["questions"][2]["vote"]["preferred"] == told["questions"][2]["order"][0], "A was the first"
    page.get_by_text("Votes so far: 3").click()
    expect(page.get_by_text("of 3 times, 1 tie, 1 both bad")).to_have_count(2)
    html = report(page, "HTML report")
    assert "Both bad" in html and "<h2>Machine</h2>" in html and "1 tie, 1 bad" in html
    page.get_by_role("button", name="Machine").click()
    expect(page.get_by_text("SmolVLM Lens 0")).to_be_visible()


def test_cold_and_warm_first_tokens_stand_side_by_side(page: playwright.Page, address: str) -> None:
    begin(page, address)
    expect(page.get_by_text("Summary", exact=True)).to_be_visible()
    begin(page, address, "Both: cold, then warm")
    expect(page.get_by_text(re.compile(r"First token: \d+\.\d\d s cold, \d+\.\d\d s warm"))).to_have_count(6)
    expect(page.get_by_text("Pictures encoded for this answer.")).to_have_count(6)
    begin(page, address, "Warm: use what is cached")
    expect(page.get_by_text("Pictures already encoded")).to_have_count(6)
    expect(page.get_by_text(re.compile("First token: .* warm"))).to_have_count(0)


def test_the_address_names_the_comparison(page: playwright.Page, address: str) -> None:
    begin(page, address)
    expect(page.get_by_text("Summary", exact=True)).to_be_visible()
    first = page.url
    expect(page).to_have_title("What color is the circle? (+2) · SmolVLM Lens")
    page.get_by_label("Questions, one per line").fill("Another question?")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page).to_have_title("Another question? · SmolVLM Lens")
    expect(page).not_to_have_url(first)  # the browser gets it some milliseconds after the title
    second = page.url
    page.go_back()
    expect(page).to_have_title("What color is the circle? (+2) · SmolVLM Lens")
    expect(page).to_have_url(first)
    page.go_forward()
    expect(page).to_have_title("Another question? · SmolVLM Lens")
    page.reload()
    expect(page.get_by_test_id("stMain").get_by_text("Another question?").last).to_be_visible()
    assert page.url == second
    page.get_by_test_id("stSidebar").get_by_role("button", name="What color is the circle?").last.click()
    expect(page).to_have_title("What color is the circle? (+2) · SmolVLM Lens")


def test_the_address_names_the_batch(page: playwright.Page, address: str) -> None:
    def start() -> str:
        page.get_by_role("button", name="Try it with the samples").click()
        page.get_by_text("6 items").wait_for()
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_text("Last run: 6 answered").wait_for()
        return page.url

    page.goto(f"{address}/batch")
    batch = start()
    assert "?batch=" in batch
    expect(page).to_have_title(re.compile("gallery.* · SmolVLM Lens"))
    page.reload()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    page.get_by_role("combobox", name="Batch").click()
    page.get_by_role("option", name="New batch").click()
    page.get_by_role("button", name="Start", exact=True).wait_for()
    expect(page).to_have_title("Batch · SmolVLM Lens")
    page.go_back()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    expect(page).to_have_url(batch)
    page.go_forward()
    page.get_by_role("button", name="Start", exact=True).wait_for()


def test_an_error_of_a_form_stands_beside_its_button(page: playwright.Page, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}/backends")
    page.get_by_role("heading", name="Backends", exact=True).wait_for()
    page.get_by_role("tab", name="Server").click()
    page.get_by_role("textbox", name="Address").first.fill("http://127.0.0.1:9")
    button = page.get_by_role("button", name="Add", exact=True)
    button.click()
    error = page.get_by_text("Nothing answers at http://127.0.0.1:9")
    error.wait_for()
    expect(error).to_be_in_viewport()
    above, below = button.bounding_box(), error.bounding_box()
    assert above is not None and below is not None and 0 < below["y"] - above["y"] < 150
    assert page.get_by_role("textbox", name="Address").first.input_value() == "http://127.0.0.1:9"
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("heading", name="Compare", exact=True).wait_for()
    page.get_by_role("button", name="Compare", exact=True).click()
    error = page.get_by_text("Enter a question")
    error.wait_for()
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(tmp_path / "broken.png")
    page.get_by_text("broken.png is not an image").wait_for()
    page.get_by_role("link", name="Backends").click()
    page.get_by_role("tab", name="Server").click()
    button.wait_for()
    expect(page.get_by_text("Nothing answers")).to_have_count(0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts the app anew on one data folder; ends the one before."""
    running: list[subprocess.Popen[bytes]] = []

    def end() -> None:
        while running:
            running[-1].terminate()
            running.pop().wait(20)

    def begin() -> str:
        end()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        environment = {**os.environ, "SMOLVLM_LENS_DATA": str(tmp_path / "data"), "HF_HUB_OFFLINE": "1"}
        quiet = subprocess.DEVNULL
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet))
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        return f"http://localhost:{port}"

    yield begin
    end()


def test_the_questions_of_a_check_are_there_after_a_restart(start: Callable[[], str]) -> None:
    def questions(page: playwright.Page) -> list[str]:
        page.get_by_text("Show questions").first.click()
        page.locator(".evidence img").first.wait_for()
        return page.locator(".evidence tr").all_inner_texts()

    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{start()}/backends")
        page.get_by_role("button", name="Check", exact=True).first.click()
        page.get_by_text("Over 99.9% confident").wait_for()
        before = questions(page)
        page.goto(f"{start()}/backends")
        page.get_by_text("Over 99.9% confident").wait_for()
        assert questions(page) == before and len(before) > 12
        browser.close()

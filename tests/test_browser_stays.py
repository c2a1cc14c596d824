"""What must not be forgotten, in a real Chromium: the open conversation, the settings, an answer in progress, a refused question."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.test_browser import ROOT, address, answers, ask, finished, page, playwright, pytestmark  # noqa: F401
from tests.test_browser_content import add_server
from tests.test_openai_api import Server, piece

expect = playwright.expect
expect.set_options(timeout=60_000)


def box(page: playwright.Page) -> playwright.Locator:
    return page.get_by_test_id("stChatInputTextArea")


def open_settings(page: playwright.Page) -> None:
    page.get_by_text("Settings", exact=True).first.click()
    page.locator("[class*=st-key-temperature]").wait_for()


def temperature(page: playwright.Page) -> playwright.Locator:
    return page.locator("[class*=st-key-temperature]").get_by_role("slider")


def choose(page: playwright.Page, list_name: str, option: str) -> None:
    page.get_by_role("combobox", name=list_name).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_the_address_carries_the_conversation(page: playwright.Page, address: str) -> None:
    """Reload, back, forward and links to it, also by the address of another page."""
    expect(page).to_have_title("Image chat · SmolVLM Lens")
    ask(page, "Hello, who are you?")
    finished(page)
    expect(page).to_have_title("Hello, who are you? · SmolVLM Lens")
    expect(page).to_have_url(re.compile(r"/\?c=[0-9a-f]{32}$"))
    link = page.url
    page.reload()
    finished(page)
    page.get_by_role("button", name="New conversation").click()
    expect(page).to_have_title("Image chat · SmolVLM Lens")
    page.go_back()
    finished(page)
    expect(page).to_have_url(link)
    page.get_by_role("link", name="Video chat").click()
    expect(page).to_have_title("Video chat · SmolVLM Lens")
    expect(page).to_have_url(f"{address}/video_chat")  # the browser gets it some milliseconds after the title
    page.go_back()
    expect(page).to_have_url(link)
    finished(page)
    page.go_forward()
    expect(page).to_have_url(f"{address}/video_chat")
    expect(page).to_have_title("Video chat · SmolVLM Lens")
    page.get_by_role("link", name="Image chat").click()
    finished(page)
    expect(page).to_have_url(link)
    page.goto(link.replace("/?", "/video_chat?"))
    expect(page).to_have_title("Hello, who are you? · SmolVLM Lens")
    expect(page).to_have_url(link)
    page.goto(f"{address}/?c=unknown")
    page.get_by_text("This conversation was deleted, or it is not yours.").wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_text("This conversation was deleted")).to_have_count(0)


def test_the_settings_stay_over_pages_and_reloads_and_have_presets(page: playwright.Page) -> None:
    open_settings(page)
    temperature(page).press("ArrowRight")
    expect(page.get_by_role("combobox", name="Preset")).to_have_value("Custom")
    page.locator(".st-key-presets_menu").get_by_role("button").first.click()
    page.locator(".st-key-preset_name input").fill("A bit warmer")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save what is set now").click()
    expect(page.get_by_role("combobox", name="Preset")).to_have_value("A bit warmer")
    page.reload()
    open_settings(page)
    expect(temperature(page)).to_have_value("0.1")
    choose(page, "Preset", "Default")
    expect(temperature(page)).to_have_value("0")
    page.get_by_role("link", name="Video chat").click()
    page.get_by_role("heading", name="Video chat").wait_for()
    open_settings(page)
    expect(temperature(page)).to_have_value("0")
    choose(page, "Preset", "A bit warmer")
    expect(temperature(page)).to_have_value("0.1")
    page.get_by_role("link", name="Image chat").click()
    page.get_by_role("heading", name="Image chat").wait_for()
    open_settings(page)
    expect(temperature(page)).to_have_value("0.1")
    choose(page, "Preset", "Default")


def test_an_answer_goes_on_without_its_page_and_only_stop_ends_it(page: playwright.Page) -> None:
    """A reload in its middle, another page, a second tab; then Stop in that tab."""
    go_on, server = threading.Event(), Server()

    def slowly() -> Iterator[bytes]:
        yield piece("The beginning, ")
        go_on.wait(60)
        yield piece("the end.")
        yield piece(finish_reason="stop")

    server.chat = slowly
    add_server(page, server, "slow-one")
    page.get_by_role("link", name="Image chat").click()
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="slow-one").click()
    page.get_by_text("Remote server").first.wait_for()
    ask(page, "Take your time")
    page.get_by_text("The beginning").wait_for()
    page.reload()
    page.get_by_text("The beginning").wait_for()
    page.get_by_role("link", name="Backends").click()
    page.get_by_role("heading", name="Backends").wait_for()
    go_on.set()
    page.get_by_role("link", name="Image chat").click()
    finished(page)
    assert answers(page)[0].startswith("The beginning, the end.")
    expect(page.get_by_text("Stopped.")).to_have_count(0)
    go_on.clear()
    ask(page, "And once more")
    page.get_by_text("The beginning").nth(1).wait_for()
    second = page.context.browser.new_page()
    second.goto(page.url)
    second.get_by_role("button", name="Stop", exact=True).click(timeout=60_000)
    for tab in (second, page):
        tab.get_by_text("Stopped.").wait_for(timeout=60_000)
    go_on.set()
    choose(page, "Model", "SmolVLM Shapes (bundled)")
    server.http.shutdown()


def test_a_refused_question_comes_back_into_the_box_with_the_reason_above(page: playwright.Page) -> None:
    ask(page, "What is <image>?")
    page.get_by_text("Your question was not sent.").wait_for()
    expect(box(page)).to_have_value("What is <image>?")
    reason, typed = page.get_by_text("Your question was not sent.").bounding_box(), box(page).bounding_box()
    assert reason is not None and typed is not None and 0 < typed["y"] - reason["y"] < 120, "just above the box"
    ask(page, "What is a picture?")
    finished(page)
    expect(page.get_by_text("Your question was not sent.")).to_have_count(0)


def test_a_fault_is_told_in_words_and_never_as_a_traceback(page: playwright.Page, tmp_path: Path) -> None:
    """On a page and in a callback, with the handler that app.py gives to Streamlit."""
    assert "on_script_error=problems.show_fault" in (ROOT / "app.py").read_text("utf-8")
    shutil.copytree(ROOT / ".streamlit", tmp_path / ".streamlit")
    (tmp_path / "faulty.py").write_text(
        "import streamlit as st\nst.button('Callback', on_click=lambda: 1 / 0)\n"
        "if st.button('Page'):\n    raise KeyError('clip_inlet_2')\n"
    )
    (tmp_path / "faulty_app.py").write_text(
        "import streamlit as st\nfrom ui import problems\n"
        "app = st.App('faulty.py', on_script_error=problems.show_fault)\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SMOLVLM_LENS_DATA": str(tmp_path / "data")}
    options = ["--server.port", str(port), "--server.headless", "true"]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "faulty_app.py", *options],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None and any("URL" in line for line in server.stdout)
        for name, fault in (("Page", "KeyError: 'clip_inlet_2'"), ("Callback", "ZeroDivisionError")):
            page.goto(f"http://localhost:{port}")
            page.get_by_role("button", name=name).click()
            page.get_by_text("Something went wrong.").wait_for()
            assert fault not in page.inner_text("body")
            page.get_by_role("button", name="Show details").click()
            page.get_by_text(fault).last.wait_for()
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Open the page again").click()
            expect(page.get_by_text("Something went wrong.")).to_have_count(0)
    finally:
        server.terminate()
        server.wait(20)

"""No page asks another host for anything, refused by the pages' policy or not."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.test_browser import address, finished, page, playwright, pytestmark  # noqa: F401
from tests.test_browser_content import PAGES

LOCAL = ("data", "blob", "about")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_request_leaves_the_machine(page: playwright.Page, address: str, scheme: str) -> None:
    """Requests, and those that the policy stopped before they were made, which only the console tells."""
    asked: list[str] = []
    refused: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url.replace("ws", "http", 1)))
    page.on("console", lambda told: refused.append(told.text) if "Content Security Policy" in told.text else None)
    page.emulate_media(color_scheme=scheme)
    for path, heading in PAGES.items():
        page.goto(f"{address}/{path}")
        page.get_by_role("heading", name=heading, exact=True).wait_for()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    for heading in PAGES.values():  # by a click, too: Streamlit then changes the icon and the title itself
        page.get_by_role("link", name=heading).click()
        page.get_by_role("heading", name=heading, exact=True).wait_for()
    page.get_by_role("link", name="Video chat").click()
    page.get_by_test_id("stMain").get_by_role("button", name="Which way does the circle move?").click()
    finished(page)
    page.locator(".strip .go").first.wait_for()
    own = urlsplit(address).netloc
    assert sum(urlsplit(url).netloc == own for url in asked) > 50, "requests are seen at all"
    assert {url for url in asked if urlsplit(url).scheme not in LOCAL and urlsplit(url).netloc != own} == set()
    assert refused == []

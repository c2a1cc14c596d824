"""Text of a hostile server in a real Chromium: whatever it sends, the browser fetches nothing and runs nothing."""

# ruff: noqa: F811 (pytest's fixtures are named like the parameters that take them)

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.conftest import drawn, encoded
from tests.test_browser import (  # noqa: F401
    CHROMIUM,
    FLAGS,
    address,
    answers,
    ask,
    downloaded,
    finished,
    page,
    playwright,
    pytestmark,
    samples,
)
from tests.test_openai_api import Server, answering, piece

PAGES = {"": "Image chat", "video_chat": "Video chat", "batch": "Batch", "compare": "Compare", "backends": "Backends"}


class Canary(Server):
    """A server that nobody should ask. `hits`: what was asked all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[str] = []
        handler = self.http.RequestHandlerClass
        handler.do_GET = handler.do_POST = handler.do_HEAD = lambda asked: self.hits.append(asked.path)  # type: ignore[attr-defined]
        self.url = self.url.removesuffix("/v1")


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.http.shutdown()


@pytest.fixture
def defenceless(address: str) -> Iterator[playwright.Page]:
    """A page whose content security policy is ignored: the text alone must be harmless."""
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=True).new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.get_by_role("heading", name="Image chat").wait_for()
        yield page
        browser.close()


def hostile(url: str) -> str:
    """Everything that could make a viewer fetch or run something."""
    return f"""\
![x]({url}/a.png) <img src={url}/b.png> [![y][r]][r] <script>fetch('{url}/c')</script> <iframe src='{url}/d'></iframe>
<meta http-equiv="refresh" content="0;url={url}/e"> :image[x]({url}/f.png) :material/check_circle: [go]({url}/link)

[r]: {url}/g.png

<style>@import url({url}/h.css); p {{ background: url({url}/i.png) }}</style>

```mermaid
flowchart LR
A@{{ img: "{url}/j.png", label: "x" }}
```

$\\includegraphics{{{url}/k.png}}$ $`$![z]({url}/l.png)$`$ `code` <video autoplay src={url}/m></video>

| a |
|---|
| ![x]({url}/n.png) |

This is **bold** said."""


def one_line(url: str) -> str:
    return f"![x]({url}/o.png) <img src={url}/p.png> :material/check_circle:"


def add_server(page: playwright.Page, server: Server, model: str) -> None:
    server.models = {"data": [{"id": model}]}
    page.get_by_role("link", name="Backends").click()
    page.get_by_role("tab", name="Server").click()
    page.get_by_role("textbox", name="Address").fill(server.url)
    page.get_by_role("textbox", name="Model").last.fill(model)
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("[class*='st-key-row_url']", has_text=model.split()[0]).wait_for()


def fetches_only_on_purpose(page: playwright.Page, canary: Canary) -> None:
    """Nothing was asked so far; a picture that is loaded on purpose is noticed."""
    page.evaluate(
        "url => new Promise(done => { const i = new Image(); i.onload = i.onerror = done; i.src = url; })",
        f"{canary.url}/on-purpose",
    )
    assert canary.hits == ["/on-purpose"]
    canary.hits.clear()


def test_a_chat_with_a_hostile_server_fetches_nothing(
    defenceless: playwright.Page, canary: Canary, tmp_path: Path
) -> None:
    """In an answer, an error, a model's name, a file name, a title and a question that is repeated; and in the export."""
    page, server = defenceless, Server()
    server.chat = answering(piece(hostile(canary.url)), piece(finish_reason="stop"))
    add_server(page, server, f"chatty {one_line(canary.url)}")
    page.get_by_role("link", name="Image chat").click()
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="chatty ![x]").click()
    page.get_by_text("Remote server").first.wait_for()
    name = f"![x]({canary.url.replace('/', ':')}).png"
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": encoded(drawn())}
    )
    page.get_by_text("This question: about").first.wait_for()
    ask(page, f"{one_line(canary.url)} What is it?")
    finished(page)
    answer = page.get_by_test_id("stChatMessage").nth(1).get_by_test_id("stMarkdownContainer").first
    playwright.expect(answer.locator("strong")).to_have_text("bold")
    playwright.expect(answer.locator("table")).to_have_count(1)
    playwright.expect(answer).to_contain_text("flowchart LR")  # code is drawn a moment later
    shown = answer.inner_text()
    assert "![x]" in shown and "<script>" in shown
    assert f"go ({canary.url}/link)" in shown, "a link shows where it leads"
    drawn_by_it = answer.locator("img, svg, iframe, video, script, style, [role=img]")
    assert drawn_by_it.evaluate_all("found => found.filter(e => !e.closest('button')).map(e => e.outerHTML)") == []
    server.chat = (500, json.dumps({"error": {"message": one_line(canary.url)}}))
    page.get_by_role("button", name="Answer again").click()
    page.get_by_role("button", name="Answer with these").click()
    page.get_by_text("The server refused").wait_for()
    ask(page, f"<image> {hostile(canary.url)}")  # refused, then repeated in a notice
    page.get_by_text("Your question was not sent.").wait_for()
    assert page.locator(f"img[src*='{canary.http.server_port}']").count() == 0
    page.locator("[class*=st-key-menu_] button").first.click()
    download = downloaded(page, "Markdown")
    page.set_content(MarkdownIt("js-default", {"html": True}).render(download.path().read_text()))
    assert page.locator("img").count() == 1, "the picture of the question"
    fetches_only_on_purpose(page, canary)


def test_a_comparison_with_a_hostile_server_fetches_nothing(
    defenceless: playwright.Page, canary: Canary, address: str, tmp_path: Path
) -> None:
    """In the columns, an error, the HTML report and the Markdown export."""
    page, server, broken = defenceless, Server(), Server()
    server.chat = answering(piece(hostile(canary.url)), piece(finish_reason="stop"))
    broken.chat = (500, json.dumps({"error": {"message": hostile(canary.url)}}))
    add_server(page, server, f"columnist {one_line(canary.url)}")
    add_server(page, broken, f"broken {one_line(canary.url)}")
    page.goto(f"{address}/compare")
    samples(page).first.click()
    page.get_by_text("1-red-circle.png").wait_for()
    page.get_by_role("combobox", name="Backends").click()
    for option in (
        page.get_by_role("option", name=str(server.http.server_port)),
        page.get_by_role("option", name="broken"),
    ):
        option.click()
    page.keyboard.press("Escape")
    page.get_by_label("Questions, one per line").fill(f"{one_line(canary.url)} What is it?")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("The server refused").wait_for()
    page.get_by_role("button", name="HTML report").wait_for()
    for label in ("HTML report", "Markdown"):
        text = downloaded(page, label).path().read_text()
        if label == "HTML report":
            assert "default-src 'none'" in text
            text = re.sub("<meta http-equiv.*", "", text)
        else:
            text = MarkdownIt("js-default", {"html": True}).render(text)
        (tmp_path / "report.html").write_text(text)
        report = page.context.new_page()
        report.goto((tmp_path / "report.html").as_uri())
        report.wait_for_load_state("networkidle")
        assert "bold" in report.inner_text("body") and report.locator("iframe, script, video").count() == 0
        assert report.locator("img:not([src^='data:'])").count() == 0
        report.close()
    fetches_only_on_purpose(page, canary)


def test_no_page_breaks_the_content_security_policy(page: playwright.Page, address: str) -> None:
    """Nor asks another host for an icon: the tab has our own."""
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("pageerror", lambda error: refused.append(str(error)))
    for path, name in PAGES.items():
        response = page.goto(f"{address}/{path}")
        assert response is not None
        headers = response.headers
        page.get_by_role("heading", name=name, exact=True).wait_for()
        assert (
            "default-src 'none'" in headers["content-security-policy"] and headers["referrer-policy"] == "same-origin"
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        if path == "video_chat":
            page.locator(".st-key-samples").get_by_role("button").first.click()
            page.locator(".strip li").first.wait_for()  # the player's script runs
    icon = page.evaluate("document.querySelector('link[rel*=icon]').href")
    assert icon.startswith(f"{address}/media/")
    assert refused == []


def test_the_policy_stops_what_would_get_past_the_text(page: playwright.Page, canary: Canary) -> None:
    """A picture, a request and a script that are put into the page itself."""
    page.evaluate(
        """async (url) => {
            document.body.insertAdjacentHTML("beforeend", `<img src=${url}/a><iframe src=${url}/b></iframe><img src=x onerror="window.ran = 1">`);
            const script = document.createElement("script");
            script.src = `${url}/c`;
            document.body.append(script);
            await fetch(`${url}/d`).catch(() => 0);
        }""",
        canary.url,
    )
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("heading", name="Compare").wait_for()
    assert canary.hits == [] and page.evaluate("window.ran") is None

"""Text of models and servers, as Markdown, in a table of a spreadsheet and in a terminal."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from smolvlm_core.markdown import MAX_CHARACTERS, code_block, code_span, safe_markdown
from smolvlm_core.text import csv_cell, escape_markdown, printable

HARMLESS = re.compile("p|br|hr|h[1-6]|ul|ol|li|blockquote|pre|code|em|strong|s|table|thead|tbody|tr|th|td|a")
# A viewer that renders all: HTML too.
VIEWERS = [MarkdownIt("commonmark", {"html": True}), MarkdownIt("js-default", {"html": True, "linkify": False})]


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", {}))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("declaration", {}))


def fetches_nothing(markdown: str) -> None:
    for viewer in VIEWERS:
        page = Elements(viewer.render(markdown))
        for tag, attributes in page.found:
            assert HARMLESS.fullmatch(tag), markdown
            assert set(attributes) <= {"href", "class", "start", "style"}, markdown
            assert "url" not in (attributes.get("style") or ""), markdown
            assert re.match("(https?:|mailto:|$)", attributes.get("href") or ""), markdown


PIECES = [
    *("![x](http://e/a.png)", "[![y][r]][r]", "\n\n[r]: http://e/c.png 'z'\n\n", "![r]", "<img src=http://e>", "<script>"),
    *("</script>", "<!--", "-->", "<iframe src='http://e'>", "<http://e>", "[t](javascript:x)", "[t](<http://e/ x>)"),
    *("`", "``", "```", "~~~", "```mermaid\n", "$", "$$", "\n$$\n", "\\", "\\(", "|", "\n|---|---|\n", "| a | b |", "[", "]", "("),
    *(")", "!", "*", "**", "_", "~~", "\n", "\n\n", "\n> ", "\n- ", "\n1. ", "\n    ", "\t", "# ", "---", "===", ":", "::", "{", "}"),
    *(":material/eye:", ":red[", ":image[x]", "&lt;img src=http://e&gt;", "&#33;", "<", ">", "word", " ", "http://e", "\u202e", "<a"),
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=25).map("".join))
@example("`a` <img src=http://e> `\\` ![x](http://e)")
@example("| a |\n|---|\n| `\\` ![x](http://e) |")
@example("$![x](http://e)$")
@example("$$\n[r]: http://e\n\n![r]\n$$")
@example("$a$![x](http://e)$`$")
def test_any_markdown_is_made_harmless(markdown: str) -> None:
    fetches_nothing(safe_markdown(markdown))
    fetches_nothing(escape_markdown(markdown))
    fetches_nothing(f"# {escape_markdown(markdown)}")
    fetches_nothing(f"| {escape_markdown(markdown)} |\n|---|")
    fetches_nothing(f"- {code_span(markdown)}")
    fetches_nothing(code_block(markdown, markdown))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"ab \n*_`#>-|", "\n\n", "1. ", "- ", "word"]), max_size=30).map("".join))
def test_no_word_is_lost(markdown: str) -> None:
    """Where there is no link definition, everything that a viewer shows of the original is shown."""
    viewer = MarkdownIt("js-default")
    before, after = (Elements(viewer.render(text)).text for text in (markdown, safe_markdown(markdown)))
    assert re.findall(r"\w+", after) == re.findall(r"\w+", before)


ANSWER = """\
## Two things

1. a **red** circle
2. a *blue* square
   - small
   - `code | <T>`

| shape | count |
| :--- | ---: |
| circle | 1 |

```rust
let v = vec![1]; // <T>
```

> It costs $x^2$, not \\$5.

$$
\\frac{1}{2}
$$
"""


def test_formatting_stays() -> None:
    assert safe_markdown(ANSWER) == ANSWER.rstrip("\n")
    rendered = VIEWERS[1].render(safe_markdown(ANSWER))
    assert "vec![1]; // &lt;T&gt;" in rendered and "code | &lt;T&gt;" in rendered
    assert rendered.count("<li>") == 4 and '<td style="text-align:right">1</td>' in rendered


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[the docs](http://evil.example/a?b=c)", "the docs (http://evil.example/a?b=c)"),
        ("[http://good.example](http://evil.example)", "http://good.example (http://evil.example)"),
        ("[moc.live](http://a.example 'http://b.example')", "moc.live (http://a.example)"),
        ("<http://a.example>", "http://a.example"),
        ("[x](/settings)", "x (/settings)"),
        ("[\u202emoc.elgoog](http://a.example)", "\ufffdmoc.elgoog (http://a.example)"),
    ],
)
def test_links_show_where_they_lead(link: str, shown: str) -> None:
    assert Elements(VIEWERS[0].render(safe_markdown(link))).text.strip() == shown


@pytest.mark.parametrize(
    "maths", ["\\href{http://e}{x}", "\\includegraphics{http://e}", "\\def\\a{\\a\\a}\\a", "\\rule{9em}{9em}"]
)
def test_maths_that_loads_or_fills_the_page_is_shown_as_code(maths: str) -> None:
    assert safe_markdown(f"${maths}$") == f"`{maths}`"
    assert safe_markdown(f"$$\n{maths}\n$$") == f"```\n{maths}\n```"
    assert safe_markdown(f"```math\n{maths}\n```") == f"```\n{maths}\n```"


def test_diagrams_are_code() -> None:
    diagram = '```mermaid\ngraph\nA@{ img: "http://e/a.png" }\n```'
    assert safe_markdown(diagram) == diagram.replace("mermaid", "")


@pytest.mark.parametrize(
    "text", ["> " * 3000 + "deep", "- " * 3000 + "deep", "*a " * 3000, "![x](http://e) " * (MAX_CHARACTERS // 10)]
)
def test_deep_and_long_text_is_shown_whole(text: str) -> None:
    safe = safe_markdown(text)
    fetches_nothing(safe)
    assert len(re.findall(r"\w+", safe)) == len(re.findall(r"\w+", text))


def test_a_bare_address_has_no_backslash_in_it() -> None:
    """GitHub's rule takes an address from `http://` or `www.` to the next space, backslashes included."""
    for address in ("http://a.example:80/b_c", "WWW.example.com/b_c", "https://a/*b*"):
        for shown in (safe_markdown(f"see {address}"), escape_markdown(f"see {address}")):
            assert not re.search(r"https?://|www\.", shown, re.I), shown


def test_icons_and_emoji_stay_text() -> None:
    for text in (":material/check:", ":smile:", "a:streamlit:b"):
        for shown in (safe_markdown(text), escape_markdown(text)):
            assert not re.search(r":[\w+/-]+:", shown.replace("\\", "")), shown


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", '=HYPERLINK("http://e")'])
def test_a_cell_is_never_a_formula(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "-5", "+3.5", "-12%", "A red circle = good", "1-2"])
def test_other_cells_stay(text: str) -> None:
    assert csv_cell(text) == text


def test_a_terminal_gets_no_control_characters() -> None:
    hostile = "red\x1b[2J\x1b]0;owned\x07\x9b31m\rblue\u202egreen\x7f"
    shown = printable(hostile)
    assert shown == "red\\u001b[2J\\u001b]0;owned\\u0007\\u009b31m\\u000dblue\\u202egreen\\u007f"
    assert printable("a\tb\nc\r\nd é 日本") == "a\tb\nc\r\nd é 日本"
    text = json.dumps({"answer": hostile}, ensure_ascii=False)
    assert json.loads(printable(text)) == {"answer": hostile}

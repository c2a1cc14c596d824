"""Markdown from models, made safe to show: it is parsed, and written again with the parts that cannot fetch or run anything.

Headings, lists, tables, code, quotes, emphasis and maths stay. Images and HTML become text. A link is followed by its address.
All other text is escaped, so a viewer with a syntax of its own finds nothing to interpret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.dollarmath import dollarmath_plugin

from smolvlm_core.text import escape_markdown, in_reading_order, valid_text

MAX_CHARACTERS = 50_000  # longer texts are shown without formatting: parsing them for each new word takes too long
MAX_BRACKETS = 2_000  # each takes 0.2 ms
MAX_DEPTH = 40  # of blocks and emphasis; markdown-it drops what is nested deeper than its own limit of 100
# Other names are dropped: viewers draw some languages, such as mermaid, and a drawing can load pictures.
_LANGUAGES = re.compile(
    "bash|c|console|cpp|cs|csharp|css|csv|diff|go|html|ini|java|javascript|js|json|jsonl|jsx|kotlin|lua|makefile|markdown|md|"
    "php|powershell|py|python|r|ruby|rust|scala|sh|shell|sql|swift|text|toml|ts|tsx|txt|typescript|xml|yaml|yml|zsh",
    re.I,
)
# Commands that load or link something, draw far outside of their line, or define others; and what a viewer without maths would
# take for Markdown that does.
_UNSAFE_MATHS = re.compile(
    r"\\(?:href|url|include\w*|html\w*|require|unicode|[gex]?def|global|long|(?:re)?newcommand|providecommand|let|futurelet|input|"
    r"rule|kern|mkern|mskip|hskip|hspace|vspace|raisebox|smash|llap|rlap|clap|math[lrc]lap|phantom\w*|[vh]phantom|cssId|class|style|"
    r"data|bbox|char|verb|csname)(?![a-zA-Z])|[$`<]|~~|!\[|\][(:]|:[\w+/-]+[:\[]|\n[ \t]*\n"
)
_SAFE_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s<>`\\\x00-\x20]+")


@lru_cache(maxsize=128)  # a page draws its answers again with each run
def safe_markdown(text: str) -> str:
    """The same Markdown, which fetches nothing wherever it is shown. Fences are closed, and long or deep text is shown as it is."""
    text = in_reading_order(valid_text(text))
    if len(text) > MAX_CHARACTERS or text.count("[") > MAX_BRACKETS:
        return escape_markdown(text, keep_lines=True)
    tokens = _parser().parse(text)
    if any(t.level >= MAX_DEPTH or any(c.level >= MAX_DEPTH for c in t.children or ()) for t in tokens):
        return escape_markdown(text, keep_lines=True)
    return "\n".join(_blocks(SyntaxTreeNode(tokens).children))


def to_html(text: str) -> str:
    """The HTML of `safe_markdown`: it has no scripts, pictures or HTML of the text's own. Maths stays as it is typed."""
    return str(MarkdownIt("js-default", {"html": False, "linkify": False}).render(safe_markdown(text)))


def code_span(text: str) -> str:
    """Text as inline code, whatever backticks it has."""
    text = re.sub(r"\s*[\r\n]\s*", " ", in_reading_order(text))
    ticks = "`" * (1 + _longest(text, "`"))
    pad = " " if text.startswith("`") or text.endswith("`") or (text[:1] == text[-1:] == " " and text.strip()) else ""
    return f"{ticks}{pad}{text}{pad}{ticks}" if text else ""


def code_block(text: str, language: str = "") -> str:
    """Text as a fenced code block. A language that viewers may draw is dropped."""
    fence = "`" * max(3, 1 + _longest(text, "`"))
    text = in_reading_order(text.removesuffix("\n"))
    return f"{fence}{language if _LANGUAGES.fullmatch(language) else ''}\n{text}\n{fence}"


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False})
    return parser.use(dollarmath_plugin, allow_space=False, allow_digits=False, allow_labels=False, double_inline=False)


def _longest(text: str, character: str) -> int:
    return max(map(len, re.findall(f"{re.escape(character)}+", text)), default=0)


def _blocks(nodes: Iterable[SyntaxTreeNode], *, tight: bool = False) -> list[str]:
    """Lines. Blocks are separated by an empty line, except in a tight list."""
    lines: list[str] = []
    for node in nodes:
        block = _block(node)
        if lines and block and not (tight and node.type != "hr"):
            lines.append("")
        lines += block
    return lines


def _block(node: SyntaxTreeNode) -> list[str]:
    if node.type in _BLOCKS:
        return _BLOCKS[node.type](node)
    return _inline(node).split("\n")  # a paragraph


def _heading(node: SyntaxTreeNode) -> list[str]:
    return [f"{'#' * int(node.tag[1:])} {_inline(node)}".replace("\n", " ").rstrip()]


def _quote(node: SyntaxTreeNode) -> list[str]:
    return [f"> {line}".rstrip() for line in _blocks(node.children) or [""]]


def _list(node: SyntaxTreeNode) -> list[str]:
    ordered, lines = node.type == "ordered_list", list[str]()
    first = int(node.attrs.get("start", 1)) if ordered else 0
    tight = all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")
    for number, item in enumerate(node.children, first):
        marker = f"{number % 10**9}{item.markup} " if ordered else f"{item.markup} "
        if lines and not tight:
            lines.append("")
        block = _blocks(item.children, tight=tight) or [""]
        lines += [(f"{marker if n == 0 else ' ' * len(marker)}{line}").rstrip() for n, line in enumerate(block)]
    return lines


def _fence(node: SyntaxTreeNode) -> list[str]:
    language = node.info.split()[0] if node.info.split() else ""
    if language == "math" and not _UNSAFE_MATHS.search(node.content):
        return ["$$", *node.content.rstrip("\n").split("\n"), "$$"]
    return code_block(node.content, language).split("\n")


def _maths_block(node: SyntaxTreeNode) -> list[str]:
    content = node.content.strip("\n")
    return code_block(content).split("\n") if _UNSAFE_MATHS.search(content) else ["$$", *content.split("\n"), "$$"]


def _table(node: SyntaxTreeNode) -> list[str]:
    rows = [row.children for part in node.children for row in part.children]
    marks = {"text-align:left": ":---", "text-align:right": "---:", "text-align:center": ":---:"}
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    ruler = " | ".join(marks.get(str(cell.attrs.get("style")), "---") for cell in rows[0])
    return [lines[0], f"| {ruler} |", *lines[1:]]


def _cell(node: SyntaxTreeNode) -> str:
    """A cell ends at any `|` that is not escaped, in code too."""
    return re.sub(r"(?<!\\)\|", r"\\|", _inline(node).replace("\n", " "))


_BLOCKS: dict[str, Callable[[SyntaxTreeNode], list[str]]] = {
    "heading": _heading,
    "blockquote": _quote,
    "bullet_list": _list,
    "ordered_list": _list,
    "fence": _fence,
    "code_block": _fence,
    "math_block": _maths_block,
    "table": _table,
    "hr": lambda node: ["___"],
}


def _inline(node: SyntaxTreeNode) -> str:
    """Of a block or an element in a line: all that is in it, escaped."""
    return "".join(_part(child) for child in node.children)


def _part(node: SyntaxTreeNode) -> str:
    match node.type:
        case "text":
            return escape_markdown(node.content, keep_lines=True)
        case "inline":
            return _inline(node)
        case "softbreak":
            return "\n"
        case "hardbreak":
            return "\\\n"
        case "code_inline":
            return code_span(node.content)
        case "strong" | "em" | "s":
            return _marked(node)
        case "math_inline":
            content = node.content
            return code_span(content) if _UNSAFE_MATHS.search(content) or "|" in content else f"${content}$"
        case "link":
            return _link(_inline(node), str(node.attrs.get("href", "")))
        case "image":
            return escape_markdown(f"![{node.content}]({node.attrs.get('src', '')})")
    return escape_markdown(node.content)  # a kind that this module does not know


def _marked(node: SyntaxTreeNode) -> str:
    """Emphasis. Spaces at its ends, which an escape can leave there, would turn the marks into text."""
    marks = {"strong": "**", "em": "*" if node.markup == "*" else "_", "s": "~~"}[node.type]
    inner = _inline(node)
    return f"{marks}{inner}{marks}" if inner.strip() == inner != "" else inner


def _link(text: str, address: str) -> str:
    """The words of a link, and where it leads. Only addresses of other sites can be clicked."""
    address = address.replace("|", "%7C").replace("`", "%60").replace("\\", "%5C")
    target = f"<{address}>" if _SAFE_ADDRESS.fullmatch(address) else escape_markdown(address)
    if not text.strip() or text == escape_markdown(address) or f"mailto:{text}" == address:
        return target
    return f"{text} ({target})"

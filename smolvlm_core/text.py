"""Text from models, servers and users, made safe to store, send and export."""

from __future__ import annotations

import re
from collections.abc import Callable

# A fenced code block: nothing in it is rendered. Inline code is not recognised: where it begins depends on all text before it.
_FENCE = re.compile(r"(^ {0,3}(`{3,})[^`\n]*\n(?:.*\n)*? {0,3}\2`*[ \t]*$)", re.M)


def valid_text(text: str) -> str:
    """Replaces lone surrogates, which neither SQLite nor JSON over HTTP can carry, with U+FFFD. Joins split pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def without_images(markdown: str) -> str:
    """Markdown whose image syntax is shown as text, so that a viewer fetches nothing. Fenced code stays as it is."""
    return _outside_fences(markdown, lambda text: text.replace("![", "!\\["))


def without_images_and_html(markdown: str) -> str:
    """As `without_images`, for viewers that render HTML: tags are shown as text too."""
    return _outside_fences(markdown, lambda text: re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", text.replace("![", "!\\[")))


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    out, at = [], 0
    for fence in _FENCE.finditer(markdown):
        out += [change(markdown[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*out, change(markdown[at:])])

"""Text from models, servers and users, made safe to store, send and export."""

from __future__ import annotations

import re


def valid_text(text: str) -> str:
    """Replaces lone surrogates, which neither SQLite nor JSON over HTTP can carry, with U+FFFD. Joins split pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def without_images(markdown: str) -> str:
    """Markdown whose image syntax is shown as text, so that a viewer fetches nothing. HTML is shown as text too."""
    return re.sub(r"<(?=[a-zA-Z/!?])", r"\\<", markdown.replace("![", "!\\["))

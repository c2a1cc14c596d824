"""Text from models, servers and users, made safe to store, send, print and show."""

from __future__ import annotations

import re
from typing import Any

# An address that is not escaped at its start takes the escapes that follow for a part of it.
# What begins something in CommonMark, tables, maths or Streamlit's directives; the second part only where a line begins.
_SPECIAL = re.compile(
    r"[\\`*_\[\]~$|<#]|:(?=[\w:/])|(?i:(?<=www))\.|&(?=[#\w])|(?m:^[ \t]*(?:[+\-=>:]|\d{1,9}(?=[.)])))"
)
# Streamlit replaces :name: and :material/name: in text even where the colon is escaped. U+2060 has no width.
_SHORTCODE = re.compile(r":(?=(?:material/)?[\w+-]+:)")
_LINE_BREAK = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]\s*")
# They change the order in which text is shown: an address could look like another one.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
# What a spreadsheet takes for a formula (OWASP, "CSV injection"). A number is no formula.
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?%?")


def valid_text(text: str) -> str:
    """Replaces lone surrogates, which neither SQLite nor JSON over HTTP can carry, with U+FFFD. Joins split pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def with_valid_texts(value: Any) -> Any:
    """A value of JSON with `valid_text` of each text in it, keys included."""
    if isinstance(value, dict):
        return {valid_text(str(key)): with_valid_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_valid_texts(inner) for inner in value]
    return valid_text(value) if isinstance(value, str) else value


def in_reading_order(text: str) -> str:
    """Replaces the characters that turn the direction of what follows with U+FFFD."""
    return _DIRECTIONS.sub("\ufffd", text)


def escape_markdown(text: str, *, keep_lines: bool = False) -> str:
    """Text that any Markdown viewer shows as it is. One line, unless `keep_lines`."""
    text = in_reading_order(text).replace("\r\n", "\n").replace("\r", "\n")
    if not keep_lines:
        text = _LINE_BREAK.sub(" ", text.strip())
    return _SPECIAL.sub(_escaped, _SHORTCODE.sub(":\u2060", text))


def _escaped(found: re.Match[str]) -> str:
    """A number that would begin a list has its dot escaped, not itself."""
    return f"{found[0]}\\" if found[0][-1].isdigit() else f"{found[0][:-1]}\\{found[0][-1]}"


def printable(text: str) -> str:
    r"""Text for a terminal: control characters, which could move the cursor or change settings, are shown as `\u001b`.

    Line feeds and tabs stay. JSON stays JSON of the same value.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_cell(text: str) -> str:
    """A cell that spreadsheets take for text: one that begins like a formula gets an apostrophe before it."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text

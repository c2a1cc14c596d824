"""The passage of a text around what was searched for. Does not know conversations."""

from __future__ import annotations

import re

BEFORE_CHARACTERS, AFTER_CHARACTERS = 24, 48


def excerpt(text: str, search: str) -> tuple[str, str, str]:
    """What is before the first match, the match as it is written, and what is after it, in one line.

    Ignores the case, as the search of the store does. Where nothing matches, the match is empty and the text is the first part.
    Dots stand for what is left out.
    """
    line, wanted = " ".join(text.split()), " ".join(search.split())
    match = re.search(re.escape(wanted), line, re.IGNORECASE) if wanted else None
    if match is None:
        return _cut(line, BEFORE_CHARACTERS + AFTER_CHARACTERS), "", ""
    at, end = match.span()
    before = line[:at] if at <= BEFORE_CHARACTERS else "…" + line[at - BEFORE_CHARACTERS : at].lstrip()
    return before, line[at:end], _cut(line[end:], AFTER_CHARACTERS)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"

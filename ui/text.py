"""Text from models, servers and users, made safe to show as Markdown."""

from __future__ import annotations

import re

import streamlit as st

from smolvlm_core.text import escape_markdown, in_reading_order, valid_text

_CODE = re.compile(r"(?<!`)(`[^`\n]+`)(?!`)")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line: a name, a title, a note."""
    return escape_markdown(text)


def message(text: object) -> str:
    """An error or notice, escaped. Commands in single backticks stay code: nothing inside code is rendered."""
    parts = _CODE.split(in_reading_order(valid_text(str(text))))
    return "".join(part if i % 2 else escape_markdown(part, keep_lines=True) for i, part in enumerate(parts))


def show_error(problem: object) -> None:
    st.error(message(problem), icon=":material/error:")

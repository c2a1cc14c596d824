"""Text from models, servers and users, made safe to show as Markdown."""

from __future__ import annotations

import re

import streamlit as st

from smolvlm_core.text import valid_text

_SPECIAL = r"\`*_{}[]()#+-.!~$:|<>"
_SPECIAL_IN_MESSAGES = r"\`*_[]!~$:|<>#&"
_CODE = re.compile(r"(?<!`)(`[^`\n]+`)(?!`)")


def escape(text: str, special: str = _SPECIAL) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in special else c for c in text)


def message(text: object) -> str:
    """An error or notice, escaped. Commands in single backticks stay code: nothing inside code is rendered."""
    parts = _CODE.split(valid_text(str(text)))
    return "".join(part if i % 2 else escape(part, _SPECIAL_IN_MESSAGES) for i, part in enumerate(parts))


def show_error(problem: object) -> None:
    st.error(message(problem), icon=":material/error:")

"""Keyboard shortcuts of the chat pages, and the list of them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"keyboard.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("keyboard", html=_html, css=_css, js=_js)


def draw() -> None:
    """The button that lists the shortcuts. They work as long as it is on the page."""
    _component(key="keyboard")

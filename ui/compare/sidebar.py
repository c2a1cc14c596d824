"""The comparisons since the app was started, to open again."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from smolvlm_core.compare.run import Comparison
from ui import address
from ui.state import session, workspace
from ui.text import escape

LONGEST_TITLE = 40


def draw() -> None:
    kept, page = workspace().comparisons.all(), session().compare
    if not kept:
        return
    with st.sidebar:
        st.caption("Comparisons since the app was started")
        shown = st.container(key="comparisons", gap="xxsmall")
    with shown:
        for key, comparison in kept:
            began = datetime.fromtimestamp(comparison.begun)
            st.button(
                f"{escape(title_of(comparison))} · {began:%H:%M}",
                key=f"open_comparison_{key}",
                type="secondary" if key == page.key else "tertiary",
                width="stretch",
                on_click=_open,
                args=(key,),
            )


def title_of(comparison: Comparison) -> str:
    """Its first question, cut at a word."""
    question, more = comparison.questions[0], len(comparison.questions) - 1
    if len(question) > LONGEST_TITLE:
        question = f"{question[:LONGEST_TITLE].rsplit(' ', 1)[0]}…"
    return f"{question} (+{more})" if more else question


def _open(key: str) -> None:
    session().compare.key = key
    address.show(address.COMPARISON, key)

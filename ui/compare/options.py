"""How a comparison is made: with or without names, with or without what caches hold."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.compare.run import Caching
from ui.state import session

CACHING: dict[Caching, str] = {
    "warm": "Warm: use what is cached",
    "cold": "Cold: encode everything again",
    "both": "Both: cold, then warm",
}


def draw() -> None:
    page = session().compare
    page.blind = st.toggle(
        "Hide the names until I have voted",
        page.blind,
        key="compare_blind",
        help="Answers are called A, B and so on, in a new order for each question.",
    )
    page.caching = st.radio(
        "First token",
        list(CACHING),
        list(CACHING).index(page.caching),
        format_func=CACHING.__getitem__,
        key="compare_caching",
        horizontal=True,
        help="A picture that was encoded before makes the first token come sooner. Cold is fair: all pictures are encoded and all "
        "prompts are read again. Only backends of this app and llama-server can do that.",
    )

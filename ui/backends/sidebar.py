"""The machine that the backends of this app run on."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.compare.summary import machine
from ui.text import escape


def draw() -> None:
    with st.sidebar:
        st.caption("This machine")
        st.caption("  \n".join(f"**{name}** {escape(value)}" for name, value in machine().items()))

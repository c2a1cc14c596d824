"""What is wrong with the data folder, above every page: what could not be read, and errors that keep a page from opening."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from smolvlm_core.errors import LensError
from ui.state import session, workspace
from ui.text import message, show_error

SHOWN = 5


def run(page: StreamlitPage) -> None:
    """Run a page. Where the store cannot be opened, say why; the page opens once the cause is gone."""
    try:
        draw()
        page.run()
    except LensError as error:
        show_error(error)
        st.button("Try again", key="try_page_again", icon=":material/refresh:")


def draw() -> None:
    """Problems that this session did not dismiss."""
    new = [problem for problem in workspace().problems() if problem not in session().told]
    if not new:
        return
    more = f"\n\n{len(new) - SHOWN} more: see the log." if len(new) > SHOWN else ""
    text = "\n".join(f"- {message(' '.join(problem.split()))}" for problem in new[:SHOWN])
    st.warning(f"Some stored data could not be read. Nothing was deleted.\n{text}{more}", icon=":material/report:")
    st.button("Dismiss", key="dismiss_problems", type="tertiary", on_click=_dismiss, args=(frozenset(new),))


def _dismiss(problems: frozenset[str]) -> None:
    session().told |= problems

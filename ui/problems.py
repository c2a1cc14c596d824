"""What is wrong, in words: stored data that could not be read, errors that keep a page from opening, and faults of the app."""

from __future__ import annotations

import logging
import traceback

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from smolvlm_core.errors import LensError
from ui import navigation, state
from ui.state import session, workspace
from ui.text import message, show_error

SHOWN = 5
logger = logging.getLogger(__name__)


def run(page: StreamlitPage) -> None:
    """Run a page. Where the store cannot be opened, say why; the page opens once the cause is gone."""
    try:
        draw()
        navigation.open_named(page)
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


def show_fault(fault: Exception) -> bool:
    """The end of a page that raised what it should not, or whose callback did. True: Streamlit shows no traceback.

    Streamlit calls it, and has written the fault to the log.
    """
    text = "This page ran into a fault of the app. Your conversations are stored: nothing was deleted."
    st.error(f"**Something went wrong.** {text}", icon=":material/error:")
    with st.container(horizontal=True):
        st.button("Open the page again", key="open_again", type="primary", icon=":material/refresh:")
        if _may_see_details():
            with st.popover("Show details", icon=":material/code:"):
                st.caption("Copy this into a bug report. It can contain names of files on this machine.")
                st.code("".join(traceback.format_exception(fault)), language=None, wrap_lines=True)
        else:
            st.caption("The details are in the log of the app, which its admins can read.")
    return True


def _may_see_details() -> bool:
    """Tracebacks show paths of the machine. A fault can be that we cannot tell who asks: then none are shown."""
    try:
        return state.is_admin()
    except Exception:
        logger.exception("who asks is unknown")
        return False

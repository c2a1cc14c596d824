"""The columns of a timeline: questions that are asked of every segment, to add and to remove."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import check_text
from smolvlm_core.timeline.records import CAPTION, Timeline
from ui.state import session, workspace
from ui.text import escape, show_error

KEY = "timeline_question"


def draw(timeline: Timeline, *, running: bool) -> None:
    if timeline.kind == "live":
        return
    if session().timeline.problem:
        show_error(session().timeline.problem)
        session().timeline.problem = ""
    with st.expander("Questions", icon=":material/add_comment:"):
        for number, question in sorted(timeline.columns.items()):
            if number != CAPTION:
                _draw_column(timeline, number, question, running)
        with (
            st.form("timeline_add_question", clear_on_submit=True, border=False),
            st.container(horizontal=True, vertical_alignment="bottom"),
        ):
            st.text_input(
                "Add a question for every segment", key=KEY, placeholder="Is anyone in the picture?", width="stretch"
            )
            st.form_submit_button("Ask", icon=":material/send:", on_click=_add, args=(timeline,), disabled=running)
        if running:
            st.caption("You can add and remove questions once this run has ended.")


def _draw_column(timeline: Timeline, number: int, question: str, running: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.markdown(escape(question), width="stretch")
        st.button(
            "Remove",
            key=f"timeline_column_{number}",
            type="tertiary",
            icon=":material/delete:",
            help="Removes the question with its answers and your edits of them",
            on_click=_remove,
            args=(timeline, number),
            disabled=running,
        )


def _add(timeline: Timeline) -> None:
    page, timelines = session().timeline, workspace().timelines
    text = st.session_state[KEY].strip()
    if not text:
        page.problem = "Write a question first."
        return
    try:
        check_text(text)
        timelines.add_column(timeline.identity, text)
        timelines.go_on(timelines.find(timeline.identity) or timeline)
    except LensError as error:
        page.problem = str(error)


def _remove(timeline: Timeline, number: int) -> None:
    try:
        workspace().timelines.remove_column(timeline.identity, number)
    except LensError as error:
        session().timeline.problem = str(error)

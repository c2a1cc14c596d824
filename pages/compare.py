"""The same pictures and questions to several backends, side by side."""

import streamlit as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.compare.columns import Unavailable
from smolvlm_core.compare.run import MOST_COLUMNS, Comparison
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.generation import GenerationSettings
from ui import state
from ui.compare import columns as compare_columns
from ui.compare import input as compare_input
from ui.compare.choices import choices
from ui.state import session, workspace

page = session().compare
st.title("Compare")
st.caption("The same pictures and prompt for several backends. Backends on one machine answer in turn.")
state.show_notices()
known = choices()


def make(name: str) -> Backend:
    """A backend that cannot be made says why in its column."""
    try:
        return known[name].make()
    except LensError as error:
        return Unavailable(name, error)


def with_verdict(name: str) -> str:
    stored = workspace().verdicts.last(make(name))
    return f"{name} · {stored.verdict}" if stored else name


def shown_comparison() -> Comparison | None:
    """This session's. After a reload, the one in the page's address."""
    page.key = page.key or st.query_params.get("comparison")
    comparison = workspace().comparisons.find(page.key) if page.key else None
    if comparison is not None and page.key:
        st.query_params["comparison"] = page.key
    return comparison


default = list(known)[:2] if page.chosen is None else [name for name in page.chosen if name in known]
page.chosen = st.multiselect(
    "Backends", list(known), default, max_selections=MOST_COLUMNS, key="compare_backends", format_func=with_verdict
)
compare_input.draw()
page.questions = st.text_area(
    "Questions, one per line",
    page.questions,
    key="compare_questions",
    placeholder="What color is the circle?",
    height=90,
)
page.blind = st.toggle("Hide the names until I have voted", page.blind, key="compare_blind")
comparison = shown_comparison()
busy = comparison is not None and not comparison.done


def begin() -> None:
    questions = [line.strip() for line in page.questions.splitlines() if line.strip()]
    try:
        asked = [(question, compare_input.prompt(question)) for question in questions]
        backends = [(name, make(name)) for name in page.chosen or []]
        page.key, _ = workspace().comparisons.begin(backends, asked, GenerationSettings(), blind=page.blind)
    except LensError as error:
        state.notify(error)


if st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=busy):
    begin()
    st.rerun()


@st.fragment(run_every=0.4 if busy else None)
def draw_columns() -> None:
    if comparison is not None:
        compare_columns.draw(comparison)
    if comparison is None or comparison.done:
        compare_columns.draw_votes()  # inside the fragment, since a vote draws only this again
    if comparison is not None and busy and comparison.done:
        for column in comparison.columns:
            if column.state == "done":
                workspace().checks.begin_on_first_use(column.backend)
        st.rerun()


if comparison is not None and comparison.prompts[0].slots != compare_input.prompt("").slots:
    compare_columns.draw_pictures(comparison)
draw_columns()

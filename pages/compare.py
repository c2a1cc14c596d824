"""The same pictures and questions to several backends, side by side."""

import streamlit as st

from smolvlm_core.backends.base import Backend
from smolvlm_core.compare.columns import Unavailable
from smolvlm_core.compare.run import MOST_COLUMNS, Comparison
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.generation import GenerationSettings
from ui import address, forms, state
from ui.chat import sidebar as chat_sidebar
from ui.compare import columns as compare_columns
from ui.compare import input as compare_input
from ui.compare import options, sidebar, summary
from ui.compare.choices import choices
from ui.state import session, workspace

FORM = "compare"
page = session().compare
st.title("Compare")
st.caption("Ask several backends the same questions about the same pictures. Backends on one machine answer in turn.")
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
    """The one that the address names, or this session's."""
    page.key = address.follow(address.COMPARISON, page.key)
    comparison = workspace().comparisons.find(page.key) if page.key else None
    if page.key and comparison is None:
        st.info("This comparison is gone: comparisons are kept until the app is closed.", icon=":material/history:")
    if comparison is not None:
        address.set_title(sidebar.title_of(comparison))
    return comparison


comparison = shown_comparison()
sidebar.draw()
chat_sidebar.draw_other(with_model=False)
if comparison is not None:
    st.markdown(f":material/arrow_downward: [Go to the answers](#{compare_columns.ANCHOR})")
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
options.draw()
busy = comparison is not None and not comparison.done


def begin() -> None:
    questions = [line.strip() for line in page.questions.splitlines() if line.strip()]
    forms.pressed(FORM)
    try:
        asked = [(question, compare_input.prompt(question)) for question in questions]
        backends = [(name, make(name)) for name in page.chosen or []]
        page.key, _ = workspace().comparisons.begin(
            backends, asked, GenerationSettings(), blind=page.blind, caching=page.caching
        )
    except LensError as error:
        forms.refuse(FORM, error)


if st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=busy):
    begin()
    st.rerun()
forms.draw_problems(FORM)


@st.fragment(run_every=0.4 if busy else None)
def draw_columns() -> None:
    if comparison is not None:
        compare_columns.draw(comparison)
    if comparison is None or comparison.done:
        summary.draw_votes()  # inside the fragment, since a vote draws only this again
    if comparison is not None and busy and comparison.done:
        for column in comparison.columns:
            if column.state == "done":
                workspace().checks.begin_on_first_use(column.backend)
        st.rerun()


if comparison is not None and comparison.prompts[0].slots != compare_input.prompt("").slots:
    compare_columns.draw_pictures(comparison)
draw_columns()

"""The same pictures and questions to several backends, side by side."""

import streamlit as st

from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import verdicts
from smolvlm_core.compare import run as comparing
from smolvlm_core.compare.run import MOST_COLUMNS, Comparison, Unavailable
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.generation import GenerationSettings
from ui import state
from ui.backends import checks
from ui.backends import summary as backend_list
from ui.compare import columns as compare_columns
from ui.compare import input as compare_input

st.set_page_config(layout="wide")
state.prepare()
st.title("Compare")
st.caption(
    "The same pictures, the same prompt, several backends. Those on one machine answer in turn, so that none slows another down."
)
state.show_notices()


def choices() -> dict[str, tuple[str, str]]:
    """What is shown → (key, precision)."""
    out = {}
    for spec in backend_list.checkpoints():
        for dtype, told in (("bfloat16", "bf16"), ("float32", "fp32")):
            out[f"{spec.title} · transformers {told}"] = (spec.key, dtype)
    for key, title in backend_list.titles().items():
        name = title if title not in out else f"{title} ({key})"
        out[name] = (key, "bfloat16")
    return out


def made(name: str) -> Backend:
    """One that cannot be had is told in its column."""
    key, dtype = known[name]
    try:
        backend = registry.choose(key).backend
    except LensError as error:
        return Unavailable(name, error)
    if isinstance(backend, TransformersBackend):
        backend = TransformersBackend(backend.spec, dtype)  # type: ignore[arg-type]
    return backend


def with_verdict(name: str) -> str:
    kept = verdicts.last(made(name))
    return f"{name} · {kept.verdict}" if kept else name


def running() -> Comparison | None:
    """This session's; after the page was loaded anew, the one that its address names."""
    key = st.session_state["comparison"] or st.query_params.get("comparison")
    st.session_state["comparison"] = key
    found = comparing.find(key) if key else None
    if found is not None and key:
        st.query_params["comparison"] = key
    return found


known = choices()
chosen = st.session_state["compare_backends"]
st.session_state["compare_backends"] = list(known)[:2] if chosen is None else [name for name in chosen if name in known]
picked = st.multiselect(
    "Backends", list(known), max_selections=MOST_COLUMNS, key="compare_backends", format_func=with_verdict
)
shown = compare_input.draw()
text = st.text_area(
    "Questions, one a line", key="compare_questions", placeholder="What color is the circle?", height=90
)
blind = st.toggle("Hide the names until I have voted", key="compare_blind")
comparison = running()


def begin() -> None:
    questions = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        asked = [(question, shown.prompt(question)) for question in questions]
        begun = Comparison([(name, made(name)) for name in picked], asked, GenerationSettings(), blind=blind)
        st.session_state["comparison"] = comparing.keep_running(begun)
    except LensError as error:
        state.notify(error)


busy = comparison is not None and not comparison.done
if st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=busy):
    begin()
    st.rerun()


@st.fragment(run_every=0.4 if busy else None)
def columns() -> None:
    if comparison is not None:
        compare_columns.draw(comparison)
    if comparison is None or comparison.done:
        compare_columns.draw_votes()  # here, since a vote draws only this anew
    if comparison is not None and busy and comparison.done:
        for column in comparison.columns:
            if column.state == "done":
                checks.begin_on_first_use(column.backend)
        st.rerun()


if comparison is not None and comparison.prompts[0].slots != shown.prompt("").slots:
    compare_columns.draw_pictures(comparison)
columns()

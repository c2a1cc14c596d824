"""The same pictures and questions to several backends, side by side."""

import streamlit as st

from smolvlm_core import catalog
from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend, GenerationSettings
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.compare import MOST_COLUMNS, Comparison
from smolvlm_core.errors import LensError
from ui import backend_list, compare_columns, compare_input, state

st.set_page_config(layout="wide")
state.prepare()
st.title("Compare")
st.caption(
    "The same pictures, the same prompt, several backends. Those on one machine answer in turn, so that none slows another down."
)
state.show_notices()


def choices() -> dict[str, tuple[str, str]]:
    """What is shown → (key, precision)."""
    known = [spec for spec in catalog.models() if catalog.is_cached(spec)]
    out = {}
    for spec in known:
        for dtype, told in (("bfloat16", "bf16"), ("float32", "fp32")):
            out[f"{spec.title} · transformers {told}"] = (spec.key, dtype)
    for key, title in backend_list.titles().items():
        name = title if title not in out else f"{title} ({key})"
        out[name] = (key, "bfloat16")
    return out


def made(name: str, key: str, dtype: str) -> tuple[str, Backend]:
    backend = registry.choose(key).backend
    if isinstance(backend, TransformersBackend):
        backend = TransformersBackend(backend.spec, dtype)  # type: ignore[arg-type]
    return name, backend


known = choices()
picked = st.multiselect(
    "Backends", list(known), default=list(known)[:2], max_selections=MOST_COLUMNS, key="compare_backends"
)
shown = compare_input.draw()
text = st.text_area(
    "Questions, one a line", key="compare_questions", placeholder="What color is the circle?", height=90
)
blind = st.toggle("Hide the names until I have voted", key="compare_blind")
running: Comparison | None = st.session_state["comparison"]


def begin() -> None:
    questions = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        asked = [(question, shown.prompt(question)) for question in questions]
        backends = [made(name, *known[name]) for name in picked]
        st.session_state["comparison"] = Comparison(backends, asked, GenerationSettings())
    except LensError as error:
        state.notify(error)


busy = running is not None and not running.done
if st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=busy):
    begin()
    st.rerun()


@st.fragment(run_every=0.4 if busy else None)
def columns() -> None:
    comparison: Comparison | None = st.session_state["comparison"]
    if comparison is None:
        return
    compare_columns.draw(comparison, blind)
    if busy and comparison.done:
        st.rerun()


columns()

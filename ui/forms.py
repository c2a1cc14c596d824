"""What is wrong with a form, beside the button that was pressed: until it is pressed again, or the page is left."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from smolvlm_core.errors import LensError
from ui.text import show_error


@dataclass
class _Refused:
    """Of one page. Another page begins anew."""

    page: str = ""
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)


def pressed(form: str) -> None:
    """At the start of a form's callback: what was wrong before does not count any more."""
    _refused().problems.pop(form, None)


def refuse(form: str, problem: str | LensError) -> None:
    """Say beside the form what is wrong. What was typed stays: the form is not emptied."""
    problems = _refused().problems
    problems[form] = (*problems.get(form, ()), str(problem))


def draw_problems(form: str) -> None:
    """Where the problems of a form appear: after its button."""
    for problem in _refused().problems.get(form, ()):
        show_error(problem)


def _refused() -> _Refused:
    context = get_script_run_ctx()
    page = context.page_script_hash if context is not None else ""
    found = st.session_state.get("refused_forms")
    if not isinstance(found, _Refused) or found.page != page:
        found = st.session_state["refused_forms"] = _Refused(page)
    return found

"""What the address of a page names: the conversation, comparison or batch that is open. Reload, links, back and forward follow it."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

APP = "SmolVLM Lens"
CONVERSATION, COMPARISON, BATCH, VIEW, TIMELINE = "c", "comparison", "batch", "view", "t"  # parameters


@dataclass
class _Seen:
    """What the address said when this session last looked, by parameter. Empty once another page was opened."""

    page: str | None = None
    values: dict[str, str | None] = field(default_factory=dict)
    replaced: dict[str, tuple[str | None, float]] = field(
        default_factory=dict
    )  # the value before, and when it was replaced


def arrive(page: str) -> bool:
    """At the start of each run: which page it is. Returns whether another one was open before."""
    seen = _seen()
    if seen.page == page:
        return False
    is_first = seen.page is None
    seen.page, seen.values = page, {}
    st.session_state.pop("refused_forms", None)  # see ui.forms: a form that is opened again is empty
    return not is_first


def follow(parameter: str, shown: str | None) -> str | None:
    """What the page has to show: what the address names where the page was just opened, or the browser went back or forward; else
    `shown`, which the address takes over.

    Any other run can have been asked for before the browser knew the address that the run before it set: it says nothing.
    """
    named, seen = st.query_params.get(parameter) or None, _seen().values
    was_just_opened = parameter not in seen
    if (was_just_opened and named is not None) or (not was_just_opened and _went_back_or_forward()):
        shown = seen[parameter] = named
    else:
        show(parameter, shown)
    return shown


def show(parameter: str, value: str | None) -> None:
    """Put into the address what was opened. None takes the parameter away."""
    _seen().values[parameter] = value
    if value is None:
        st.query_params.pop(parameter, None)
    elif st.query_params.get(parameter) != value:
        st.query_params[parameter] = value


def set_title(name: str) -> None:
    """The title of the browser's tab."""
    st.set_page_config(page_title=f"{name} · {APP}")


def _went_back_or_forward() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _seen() -> _Seen:
    found: _Seen = st.session_state.setdefault("address", _Seen())
    return found

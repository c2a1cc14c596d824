"""What the address of a page names: the conversation, comparison or batch that is open. Reload, links, back and forward follow it."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

APP = "SmolVLM Lens"
CONVERSATION, COMPARISON, BATCH = "c", "comparison", "batch"  # parameters


@dataclass
class _Seen:
    """What the address said when this session last looked, by parameter. Empty once another page was opened."""

    page: str | None = None
    values: dict[str, str | None] = field(default_factory=dict)


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
    """What the page has to show: what the address names where the browser changed it; else `shown`, which the address takes over."""
    named, seen = st.query_params.get(parameter) or None, _seen().values
    changed = named is not None if parameter not in seen else named != seen[parameter]
    if changed:
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


def _seen() -> _Seen:
    found: _Seen = st.session_state.setdefault("address", _Seen())
    return found

"""The columns of a comparison as they fill: answers, figures, votes, stop, exports."""

from __future__ import annotations

from functools import partial

import streamlit as st

from smolvlm_core import compare_report
from smolvlm_core.compare import Column, Comparison, marked
from ui.backend_list import badge
from ui.frames import escape

_STATES = {"done": "check_circle", "failed": "error", "stopped": "stop_circle", "waiting": "hourglass_empty"}


def draw(comparison: Comparison, blind: bool) -> None:
    """Names stay hidden while `blind`, until all questions are voted on."""
    hidden = blind and not comparison.all_voted
    columns = [comparison.columns[n] for n in comparison.order] if blind else comparison.columns
    for n, question in enumerate(comparison.questions):
        st.markdown(f"**{escape(question)}**")
        st.caption(f"Prompt and pictures, the same for all: {comparison.prompts[n].fingerprint[:16]}")
        for place, (column, cell) in enumerate(zip(columns, st.columns(len(columns)))):
            with cell.container(border=True):
                _answer(comparison, column, n, f"Answer {'ABCD'[place]}" if hidden else column.name, columns[0], hidden)
    if not comparison.done:
        st.button("Stop all", icon=":material/stop:", on_click=comparison.stop, key="stop_all")
    elif not hidden:
        _exports(comparison)


def _answer(comparison: Comparison, column: Column, n: int, name: str, first: Column, hidden: bool) -> None:
    reply = column.replies[n]
    st.markdown(f"**{escape(name)}**")
    if not hidden:
        badge(column.backend)
    if reply.text:
        reference = first.replies[n].text if first is not column else reply.text
        pieces = marked(reply.text, reference) if comparison.done else [(reply.text, False)]
        st.markdown("".join(_piece(p, differs) for p, differs in pieces))
    if reply.error:
        st.error("It failed." if hidden else reply.error, icon=":material/error:")
    if not column.done and reply.stats is None:
        st.caption(f":material/hourglass_top: {_doing(column, hidden)}")
        if not hidden:
            st.button(
                "Stop", key=f"stop_{n}_{column.name}", icon=":material/stop:", on_click=partial(comparison.stop, column)
            )
    elif column.done and not reply.text and not reply.error:
        st.caption(f":material/{_STATES[column.state]}: No answer ({column.state})")
    if reply.stats is not None and not hidden:
        heads = compare_report.HEAD[1:]
        told = zip(heads, compare_report.told_figures(column, reply))
        st.caption("  \n".join(f"{head}: {value}" for head, value in told))
    if comparison.done and reply.text:
        if n not in comparison.voted:
            st.button(
                "Prefer",
                key=f"vote_{n}_{column.name}",
                icon=":material/thumb_up:",
                on_click=partial(comparison.vote, n, column),
            )
        elif comparison.voted[n] == column.name:
            st.badge("Preferred", icon=":material/thumb_up:", color="green")


def _piece(text: str, differs: bool) -> str:
    """The space at its end stands outside of the mark."""
    said = text.rstrip()
    return (f":orange-background[{escape(said)}]" if differs else escape(said)) + text[len(said) :]


def _doing(column: Column, hidden: bool) -> str:
    if hidden:
        return "Answering"
    return column.progress or {"waiting": "Waiting for its turn", "loading": "Loading"}.get(column.state, "Answering")


def _exports(comparison: Comparison) -> None:
    with st.container(horizontal=True):
        for label, name, make in (
            ("HTML report", "comparison.html", compare_report.to_html),
            ("Markdown", "comparison.md", compare_report.to_markdown),
            ("JSON", "comparison.json", compare_report.to_json),
        ):
            st.download_button(label, partial(_encoded, make, comparison), name, icon=":material/download:", key=name)


def _encoded(make, comparison: Comparison) -> bytes:  # type: ignore[no-untyped-def]
    return make(comparison).encode()  # type: ignore[no-any-return]

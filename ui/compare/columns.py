"""A comparison as it fills: what was asked, answers, figures, votes, stop, exports."""

from __future__ import annotations

from functools import partial

import streamlit as st

from smolvlm_core.compare import report as compare_report
from smolvlm_core.compare import votes
from smolvlm_core.compare.run import Column, Comparison, marked
from smolvlm_core.errors import LensError
from ui.backends.summary import badge
from ui.frames import draw_frames
from ui.text import escape, message, show_error

_STATES = {"done": "check_circle", "failed": "error", "stopped": "stop_circle", "waiting": "hourglass_empty"}


def draw(comparison: Comparison) -> None:
    for n, question in enumerate(comparison.questions):
        st.markdown(f"**{escape(question)}**")
        with st.expander(
            f"What each was given: {comparison.prompts[n].fingerprint[:16]}", icon=":material/frame_inspect:"
        ):
            st.code(comparison.prompts[n].text, language=None, wrap_lines=True)
            st.caption(
                f"Each `<image>` stands for a picture, in order. Prompt and pictures: {comparison.prompts[n].fingerprint}"
            )
        for place, (column, cell) in enumerate(zip(comparison.shown, st.columns(len(comparison.columns)))):
            with cell.container(border=True):
                _answer(comparison, column, n, "ABCD"[place])
    if not comparison.done:
        st.button("Stop all", icon=":material/stop:", on_click=comparison.stop, key="stop_all")
    if not comparison.hides_names:
        _exports(comparison)


def draw_pictures(comparison: Comparison) -> None:
    """Where other pictures have been chosen since."""
    st.caption("The answers below are about:")
    draw_frames([(slot.label, slot.open()) for slot in comparison.prompts[0].slots])


def draw_votes() -> None:
    """All that were kept, of earlier comparisons too."""
    kept = votes.votes()
    if kept:
        with st.expander(f"Votes so far: {len(kept)}", icon=":material/thumb_up:"):
            for name, won, stood in votes.tally(kept):
                st.caption(f"**{escape(name)}** preferred {won} of {stood} times")
            blind = sum(bool(vote.get("blind")) for vote in kept)
            st.caption(f"{blind} with the names hidden. They lie in `votes.jsonl` in the data folder.")


def _answer(comparison: Comparison, column: Column, n: int, letter: str) -> None:
    reply, hidden = column.replies[n], comparison.hides_names
    st.markdown(f"**{f'Answer {letter}' if hidden else escape(column.name)}**")
    if not hidden:
        badge(column.backend)
    if reply.text:
        reference = comparison.reference(n).replies[n]
        both = reply.ended and reference.ended
        pieces = marked(reply.text, reference.text) if both else [(reply.text, False)]
        st.markdown("".join(_piece(p, differs) for p, differs in pieces))
    if reply.error:
        show_error("It failed." if hidden else reply.error)
    if reply.how_it_ended:
        st.caption(f":orange[:material/content_cut: {reply.how_it_ended}]")
    if not column.done and not reply.ended:
        st.caption(f":material/hourglass_top: {message(_doing(column, hidden))}")
        st.button("Stop", key=f"stop_{n}_{letter}", icon=":material/stop:", on_click=partial(comparison.stop, column))
    elif column.done and not reply.text and not reply.error:
        st.caption(f":material/{_STATES[column.state]}: No answer ({column.state})")
    if reply.stats is not None and not hidden:
        heads = compare_report.HEAD[1:]
        told = zip(heads, compare_report.told_figures(column, reply))
        st.caption("  \n".join(f"{head}: {value}" for head, value in told))
    if reply.text and _can_vote(comparison, n):
        if n not in comparison.voted:
            st.button(
                "Prefer",
                key=f"vote_{n}_{letter}",
                icon=":material/thumb_up:",
                on_click=partial(_vote, comparison, n, column),
            )
        elif comparison.voted[n] == column.name:
            st.badge("Preferred", icon=":material/thumb_up:", color="green")


def _can_vote(comparison: Comparison, n: int) -> bool:
    """Once all have answered that question, or will not."""
    return all(column.done or column.replies[n].ended for column in comparison.columns)


def _vote(comparison: Comparison, n: int, column: Column) -> None:
    try:
        comparison.vote(n, column)
    except LensError as error:
        st.toast(message(error), icon=":material/error:")  # a vote does not draw the top of the page anew


def _piece(text: str, differs: bool) -> str:
    """Marked line by line, since a mark ends with its paragraph; the space at a line's end stands outside of it."""
    if not differs:
        return escape(text)
    lines = []
    for line in text.splitlines(keepends=True):
        said = line.rstrip()
        lines.append((f":orange-background[{escape(said)}]" if said else "") + line[len(said) :])
    return "".join(lines)


def _doing(column: Column, hidden: bool) -> str:
    if hidden:
        return "Answering" if column.state in ("loading", "answering") else "Waiting"
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

"""A comparison while it runs and after: questions, answers, figures, votes, stop, exports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from smolvlm_core.compare import report
from smolvlm_core.compare.columns import Column, differences
from smolvlm_core.compare.run import Comparison
from smolvlm_core.compare.votes import tally
from smolvlm_core.errors import LensError
from smolvlm_core.text import escape_markdown
from ui.backends import badges
from ui.pictures import shown, strip
from ui.state import workspace
from ui.text import escape, message, show_error

_STATES = {"done": "check_circle", "failed": "error", "stopped": "stop_circle", "waiting": "hourglass_empty"}


def draw(comparison: Comparison) -> None:
    for n, question in enumerate(comparison.questions):
        st.markdown(f"**{escape(question)}**")
        fingerprint = comparison.prompts[n].fingerprint
        with st.expander(f"What each model was given: {fingerprint[:16]}", icon=":material/frame_inspect:"):
            st.code(comparison.prompts[n].text, language=None, wrap_lines=True)
            st.caption(f"Each `<image>` stands for a picture, in order. Prompt and pictures: {fingerprint}")
        for place, (column, cell) in enumerate(zip(comparison.shown, st.columns(len(comparison.columns)))):
            with cell.container(border=True):
                _draw_answer(comparison, column, n, "ABCD"[place])
    if not comparison.done:
        st.button("Stop all", icon=":material/stop:", on_click=comparison.stop, key="stop_all")
    if not comparison.hides_names:
        _exports(comparison)


def draw_pictures(comparison: Comparison) -> None:
    """Where other pictures have been chosen since."""
    st.caption("The answers below are about:")
    slots = comparison.prompts[0].slots
    strip.draw("compared", [shown.unsaved(slot.open(), slot.label, slot.sha256) for slot in slots])


def draw_votes() -> None:
    """All that were stored, of earlier comparisons too."""
    votes = workspace().comparisons.votes.all()
    if votes:
        with st.expander(f"Votes so far: {len(votes)}", icon=":material/thumb_up:"):
            for name, won, stood in tally(votes):
                st.caption(f"**{escape(name)}** preferred {won} of {stood} times")
            blind = sum(bool(vote.get("blind")) for vote in votes)
            st.caption(f"{blind} with the names hidden. Stored as `votes.jsonl` in the data folder.")


def _draw_answer(comparison: Comparison, column: Column, n: int, letter: str) -> None:
    answer, hidden = column.answers[n], comparison.hides_names
    st.markdown(f"**{f'ColumnAnswer {letter}' if hidden else escape(column.name)}**")
    if not hidden:
        badges.draw_last(column.backend)
    if answer.text:
        _draw_text(comparison, column, n)
    if answer.error:
        show_error("It failed." if hidden else answer.error)
    if answer.why_incomplete:
        st.caption(f":orange[:material/content_cut: {message(answer.why_incomplete)}]")
    if not column.done and not answer.ended:
        st.caption(f":material/hourglass_top: {message(_activity(column, hidden))}")
        st.button("Stop", key=f"stop_{n}_{letter}", icon=":material/stop:", on_click=partial(comparison.stop, column))
    elif column.done and not answer.text and not answer.error:
        st.caption(f":material/{_STATES[column.state]}: No answer ({column.state})")
    if answer.stats is not None and not hidden:
        figures = zip(report.HEAD[1:], report.figure_cells(column, answer))
        waiting = answer.stats.queued_seconds
        lines = [f"{head}: {value}" for head, value in figures]
        st.caption("  \n".join([*lines, *([f"waited {waiting:.1f} s"] if waiting > 0.5 else [])]))
    if answer.text and _can_vote(comparison, n):
        _draw_vote(comparison, column, n, letter)


def _draw_text(comparison: Comparison, column: Column, n: int) -> None:
    """Words that differ from the first answer's are marked, once both have ended."""
    answer, reference = column.answers[n], comparison.reference(n).answers[n]
    both = answer.ended and reference.ended
    pieces = differences(answer.text, reference.text) if both else [(answer.text, False)]
    st.markdown("".join(_piece(piece, differs) for piece, differs in pieces))


def _draw_vote(comparison: Comparison, column: Column, n: int, letter: str) -> None:
    if n not in comparison.voted:
        vote = partial(_vote, comparison, n, column)
        st.button("Prefer", key=f"vote_{n}_{letter}", icon=":material/thumb_up:", on_click=vote)
    elif comparison.voted[n] == column.name:
        st.badge("Preferred", icon=":material/thumb_up:", color="green")


def _can_vote(comparison: Comparison, n: int) -> bool:
    """Once all have answered that question, or will not."""
    return all(column.done or column.answers[n].ended for column in comparison.columns)


def _vote(comparison: Comparison, n: int, column: Column) -> None:
    try:
        comparison.vote(n, column)
    except LensError as error:
        st.toast(message(error), icon=":material/error:")  # a vote does not draw the top of the page again


def _piece(text: str, differs: bool) -> str:
    """Marked line by line, since a mark ends with its paragraph. Spaces at the end of a line stay outside of the mark."""
    if not differs:
        return escape_markdown(text, keep_lines=True)
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.rstrip()
        lines.append((f":orange-background[{escape(words)}]" if words else "") + line[len(words) :])
    return "".join(lines)


def _activity(column: Column, hidden: bool) -> str:
    if hidden:
        return "Answering" if column.state in ("loading", "answering") else "Waiting"
    return column.progress or {"waiting": "Waiting for its turn", "loading": "Loading"}.get(column.state, "Answering")


def _exports(comparison: Comparison) -> None:
    formats = (
        ("HTML report", "comparison.html", report.to_html),
        ("Markdown", "comparison.md", report.to_markdown),
        ("JSON", "comparison.json", report.to_json),
    )
    with st.container(horizontal=True):
        for label, name, write in formats:
            st.download_button(label, partial(_encode, write, comparison), name, icon=":material/download:", key=name)


def _encode(write: Callable[[Comparison, report.LastVerdict], str], comparison: Comparison) -> bytes:
    return write(comparison, workspace().verdicts.last).encode()

"""A comparison while it runs and after: questions, answers, figures, votes, stop, exports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from smolvlm_core.compare import report
from smolvlm_core.compare.columns import Column, ColumnAnswer, differences, was_encoded
from smolvlm_core.compare.run import Comparison
from smolvlm_core.compare.summary import LastVerdict
from smolvlm_core.compare.votes import Ballot, bad_words
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.generation import NOTICEABLE_SECONDS, Stats
from smolvlm_core.text import escape_markdown
from ui import forms
from ui.backends import badges
from ui.compare import summary
from ui.pictures import shown, strip
from ui.state import workspace
from ui.text import escape, message, show_error

_STATES = {"done": "check_circle", "failed": "error", "stopped": "stop_circle", "waiting": "hourglass_empty"}
ANCHOR = "answers"


def draw(comparison: Comparison) -> None:
    st.subheader("Answers", anchor=ANCHOR)
    for n, question in enumerate(comparison.questions):
        st.markdown(f"**{escape(question)}**")
        fingerprint = comparison.prompts[n].fingerprint
        with st.expander("What each model was given", icon=":material/frame_inspect:"):
            st.code(comparison.prompts[n].text, language=None, wrap_lines=True)
            st.caption(f"Each `<image>` stands for a picture, in order. Prompt and pictures: {fingerprint}")
        for letter, column, cell in zip("ABCD", comparison.shown(n), st.columns(len(comparison.columns))):
            with cell.container(border=True):
                _draw_answer(comparison, column, n, letter)
        _draw_vote(comparison, n)
    if not comparison.done:
        st.button("Stop all", icon=":material/stop:", on_click=comparison.stop, key="stop_all")
    elif comparison.hides_names:
        st.caption(":material/visibility_off: Names and figures appear once you have voted on every question.")
    if comparison.done and not comparison.hides_names:
        summary.draw(comparison)
    if not comparison.hides_names:
        _exports(comparison)


def draw_pictures(comparison: Comparison) -> None:
    """Where other pictures have been chosen since."""
    st.caption("The answers below are about:")
    slots = comparison.prompts[0].slots
    strip.draw("compared", [shown.unsaved(slot.open(), slot.label, slot.sha256) for slot in slots])


def _draw_answer(comparison: Comparison, column: Column, n: int, letter: str) -> None:
    answer, hidden = column.answers[n], comparison.hides_names
    st.markdown(f"**{f'Answer {letter}' if hidden else escape(column.name)}**")
    if not hidden:
        badges.draw_last(column.backend)
    if answer.text:
        _draw_text(comparison, column, n)
    if answer.error:
        show_error("This backend failed." if hidden else answer.error)
    if answer.why_incomplete:
        st.caption(f":orange[:material/content_cut: {message(answer.why_incomplete)}]")
    if not column.done and not answer.ended:
        st.caption(f":material/hourglass_top: {message(_activity(column, hidden))}")
        st.button("Stop", key=f"stop_{n}_{letter}", icon=":material/stop:", on_click=partial(comparison.stop, column))
    elif column.done and not answer.text and not answer.error:
        st.caption(f":material/{_STATES[column.state]}: No answer ({column.state})")
    if answer.stats is not None and not hidden:
        _draw_figures(comparison, column, answer)
    if answer.text and _can_vote(comparison, n):
        _draw_prefer(comparison, column, n, letter)


def _draw_figures(comparison: Comparison, column: Column, answer: ColumnAnswer) -> None:
    stats = answer.stats
    assert stats is not None
    if stats.image_tokens or comparison.prompts[0].slots:
        st.caption(_cache_line(comparison, column, stats))
    figures = zip(report.HEAD[1:], report.figure_cells(column, answer))
    lines = [f"{head}: {value}" for head, value in figures]
    waited = [f"Waited: {stats.queued_seconds:.1f} s"] if stats.queued_seconds > NOTICEABLE_SECONDS else []
    st.caption("  \n".join([*lines, *waited]))


def _cache_line(comparison: Comparison, column: Column, stats: Stats) -> str:
    """Whether the first token could be fast because the pictures were known."""
    if not column.can_be_cold and comparison.caching != "warm":
        return ":material/help: Cold is not possible here: this server decides what it caches."
    if was_encoded(stats):
        return ":material/bolt: Pictures already encoded: the first token comes sooner."
    if column.can_be_cold:
        return ":material/ac_unit: Pictures encoded for this answer."
    return ":material/help: This server decides what it caches, and reports nothing from its cache."


def _draw_text(comparison: Comparison, column: Column, n: int) -> None:
    """Words that differ from the first answer's are marked, once both have ended."""
    answer, reference = column.answers[n], comparison.reference(n).answers[n]
    both = answer.ended and reference.ended
    pieces = differences(answer.text, reference.text) if both else [(answer.text, False)]
    st.markdown("".join(_piece(piece, differs) for piece, differs in pieces))


def _draw_prefer(comparison: Comparison, column: Column, n: int, letter: str) -> None:
    ballot = Ballot(outcome="preferred", preferred=column.name)
    if n not in comparison.voted:
        vote = partial(_vote, comparison, n, ballot)
        st.button("Prefer", key=f"vote_{n}_{letter}", icon=":material/thumb_up:", on_click=vote)
    elif comparison.voted[n] == ballot:
        st.badge("Preferred", icon=":material/thumb_up:", color="green")


def _draw_vote(comparison: Comparison, n: int) -> None:
    """Below the answers: none is better, or none is good."""
    answers = comparison.answered(n)
    if not answers or not _can_vote(comparison, n):
        return
    if n not in comparison.voted:
        with st.container(horizontal=True):
            if answers > 1:
                tie = partial(_vote, comparison, n, Ballot(outcome="tie"))
                st.button("Tie", key=f"tie_{n}", icon=":material/equal:", on_click=tie)
            bad = partial(_vote, comparison, n, Ballot(outcome="bad"))
            st.button(bad_words(answers), key=f"bad_{n}", icon=":material/thumb_down:", on_click=bad)
    elif comparison.voted[n].outcome != "preferred":
        is_tie = comparison.voted[n].outcome == "tie"
        icon = ":material/equal:" if is_tie else ":material/thumb_down:"
        st.badge(comparison.voted[n].describe(answers), icon=icon, color="blue" if is_tie else "orange")
    forms.draw_problems(f"vote_{n}")


def _can_vote(comparison: Comparison, n: int) -> bool:
    """Once all have answered that question, or will not."""
    return all(column.done or column.answers[n].ended for column in comparison.columns)


def _vote(comparison: Comparison, n: int, ballot: Ballot) -> None:
    forms.pressed(f"vote_{n}")
    try:
        comparison.vote(n, ballot)
    except LensError as error:
        forms.refuse(f"vote_{n}", error)


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
        summary.draw_machine()


def _encode(write: Callable[[Comparison, LastVerdict], str], comparison: Comparison) -> bytes:
    return write(comparison, workspace().verdicts.last).encode()

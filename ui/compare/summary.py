"""A comparison in one row a backend, the machine it ran on, and what was voted so far."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from jinja2 import Environment

from smolvlm_core.compare import summary
from smolvlm_core.compare.report import CACHING
from smolvlm_core.compare.run import Comparison
from smolvlm_core.compare.votes import tally
from ui.state import workspace
from ui.text import escape

_FOLDER = Path(__file__).parent
_css = (_FOLDER / "summary.css").read_text(encoding="utf-8")
_template = Environment(autoescape=True).from_string((_FOLDER / "summary.html.j2").read_text(encoding="utf-8"))


def draw(comparison: Comparison) -> None:
    """Only where names are not hidden."""
    cells = [row.cells() for row in summary.rows(comparison, workspace().verdicts.last)]
    st.markdown("**Summary**")
    st.html(_template.render(css=_css, heads=summary.HEAD, rows=cells))
    st.caption(CACHING[comparison.caching])


def draw_machine() -> None:
    """Looked up once it is opened: the first time takes a moment."""
    popover = st.popover("Machine", icon=":material/memory:", on_change="rerun", key="compare_machine")
    if popover.open:
        with popover:
            lines = [f"**{name}** {escape(value)}" for name, value in summary.machine().items()]
            st.markdown("  \n".join(lines))
            st.caption("This machine. Servers elsewhere have their own.")


def draw_votes() -> None:
    """All that were stored, of earlier comparisons too."""
    votes = workspace().comparisons.votes.all()
    if votes:
        with st.expander(f"Votes so far: {len(votes):,}", icon=":material/thumb_up:"):
            for standing in tally(votes):
                st.caption(f"**{escape(standing.name)}** {standing.describe()}")
            blind = sum(bool(vote.get("blind")) for vote in votes)
            st.caption(f"{blind:,} with the names hidden. Stored as `votes.jsonl` in the data folder.")

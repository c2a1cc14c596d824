"""Two timelines compared, as Markdown or as an object for JSON. Does not know files or pages."""

from __future__ import annotations

from typing import Any

from smolvlm_core.text import escape_markdown
from smolvlm_core.timeline.differences import MEASURE, Compared, Differences, Row, Tally
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.times import time_text


def as_object(found: Differences) -> dict[str, Any]:
    """What JSON can carry. Times in seconds."""
    return {
        "clip": found.timelines[0].clip.name,
        "sha256": found.timelines[0].clip.sha256,
        "timelines": [{"identity": t.identity, "model": t.model, "prompt": t.request.prompt} for t in found.timelines],
        "measure": MEASURE,
        "questions": [
            {
                "question": tally.question,
                "same": tally.same,
                "different": tally.different,
                "unanswered": tally.unanswered,
                "mean_disagreement": tally.mean,
            }
            for tally in found.tallies
        ],
        "segments": [_row_object(row) for row in found.rows],
        "cut_differently": [[list(s.range_seconds) for s in only] for only in found.only],
        "asked_of_one": [list(questions) for questions in found.questions],
    }


def _row_object(row: Row) -> dict[str, Any]:
    return {
        "start_seconds": row.range_seconds[0],
        "end_seconds": row.range_seconds[1],
        "disagreement": row.disagreement if row.is_answered else None,
        "answers": [
            {
                "question": c.question,
                "texts": list(c.texts),
                "disagreement": c.disagreement,
                "by_meaning": c.by_meaning,
                "edited": list(c.edited),
            }
            for c in row.compared
        ],
    }


def as_markdown(found: Differences) -> str:
    """A report for people: figures first, then the segments, the largest disagreement first."""
    lines = [
        f"# {escape_markdown(found.timelines[0].title)}: two timelines compared",
        "",
        *(f"- **{letter}**: {escape_markdown(_name(t))}" for letter, t in zip("AB", found.timelines)),
        "",
        f"{found.describe()}. Texts are compared by {MEASURE}; yes and no by their meaning.",
        "",
        "| question | same | different | not answered by both | mean disagreement |",
        "|---|---|---|---|---|",
        *map(_tally_row, found.tallies),
    ]
    for row in found.rows:
        lines += ["", f"## {span_text(row)}: {degree(row)}", ""]
        for compared in row.compared:
            lines += _compared_lines(compared)
    for letter, only, questions in zip("AB", found.only, found.questions):
        if only:
            spans = ", ".join(
                f"{time_text(round(a, 2))}–{time_text(round(b, 2))}" for a, b in (s.range_seconds for s in only)
            )
            lines += ["", f"Only {letter} has these segments: {spans}."]
        if questions:
            lines += ["", f"Only {letter} was asked: {', '.join(map(escape_markdown, questions))}"]
    return "\n".join(lines) + "\n"


def span_text(row: Row) -> str:
    start, end = row.range_seconds
    return f"{time_text(round(start, 2))}–{time_text(round(end, 2))}"


def degree(row: Row) -> str:
    """How much they disagree, in words."""
    if not row.is_answered:
        return "not answered by both"
    return f"{row.disagreement:.0%} different" if row.disagreement else "the same"


def _tally_row(tally: Tally) -> str:
    mean = "–" if tally.mean is None else f"{tally.mean:.0%}"
    return f"| {escape_markdown(tally.question)} | {tally.same} | {tally.different} | {tally.unanswered} | {mean} |"


def _compared_lines(compared: Compared) -> list[str]:
    said = [
        f"- {name}: {escape_markdown(text) or '*no answer*'}{' *(edited)*' if edited else ''}"
        for name, text, edited in zip("AB", compared.texts, compared.edited)
    ]
    return [f"{escape_markdown(compared.question)}", "", *said, ""]


def _name(timeline: Timeline) -> str:
    return f"{timeline.model}, “{timeline.request.prompt}”, {timeline.identity}"

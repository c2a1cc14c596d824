"""One row a segment, for spreadsheets. No cell is a formula."""

from __future__ import annotations

import csv
import io

from smolvlm_core.text import csv_cell
from smolvlm_core.timeline.export.content import Content, plain
from smolvlm_core.timeline.records import CAPTION, Segment

BOM = "\ufeff"  # without it, Excel takes UTF-8 for another encoding


def to_csv(content: Content) -> tuple[str, list[str]]:
    """(the table, nothing). Each column of answers is followed by the model's own words and by why there is no answer."""
    columns = {CAPTION: "Description", **content.questions}
    out = io.StringIO()
    rows = csv.writer(out)
    answers = [f"{name}{kind}" for name in columns.values() for kind in ("", " (model)", " (error)")]
    rows.writerow(_cells(["Segment", "Start (s)", "End (s)", *answers, "Note", "Frames (s)", "Remarks"]))
    for number, segment in enumerate(content.leaves, start=1):
        rows.writerow(_cells(_row(number, segment, list(columns))))
    return BOM + out.getvalue(), []


def _row(number: int, segment: Segment, columns: list[int]) -> list[str]:
    row = [str(number), f"{segment.start_seconds:.3f}", f"{segment.end_seconds:.3f}"]
    for column in columns:
        answer = segment.answers.get(column)
        row += [answer.words, answer.text, answer.error] if answer is not None else ["", "", ""]
    frames = " ".join(f"{frame.timestamp_seconds:.3f}" for frame in segment.frames)
    return [*row, segment.note, frames, "; ".join(segment.notes)]


def _cells(texts: list[str]) -> list[str]:
    return [csv_cell(plain(text)) for text in texts]

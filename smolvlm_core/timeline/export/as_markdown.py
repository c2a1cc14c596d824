"""A document with the frames beside it, as a zip archive: timeline.md and frames/*.jpg. No viewer fetches or runs anything of it."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

from smolvlm_core.files import replacing
from smolvlm_core.markdown import safe_markdown
from smolvlm_core.text import escape_markdown
from smolvlm_core.timeline.export.content import VERDICTS, Content, original_of, plain
from smolvlm_core.timeline.export.pictures import Shown, shown_frames
from smolvlm_core.timeline.records import CAPTION, Segment
from smolvlm_core.times import time_text
from smolvlm_core.work.report import Report

MAX_EDGE = 640  # px
DOCUMENT = "timeline.md"


def write_markdown(content: Content, path: Path, report: Report, cancel: threading.Event | None) -> list[str]:
    """Returns what is missing. Raises StoreError, SamplingCancelled."""
    names: dict[tuple[int, int], str] = {}
    numbers = {segment.identity: number for number, segment in enumerate(content.leaves, start=1)}
    small = gone = 0
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for shown in shown_frames(content, MAX_EDGE, report, cancel):
            if shown.jpeg is None:
                gone += 1
                continue
            small += shown.is_small
            name = names[shown.segment.identity, shown.position] = _name(shown, numbers[shown.segment.identity])
            archive.writestr(name, shown.jpeg)
        archive.writestr(DOCUMENT, to_markdown(content, names), zipfile.ZIP_DEFLATED)
    notes = [f"the clip is not there any more: {small} frames are small pictures"] if small else []
    return [*notes, f"{gone} frames are not there any more"] if gone else notes


def _name(shown: Shown, number: int) -> str:
    seconds = shown.segment.frames[shown.position].timestamp_seconds
    return f"frames/{number:04}-{shown.position + 1}-{seconds:.2f}s.jpg"


def to_markdown(content: Content, pictures: dict[tuple[int, int], str]) -> str:
    """`pictures`: the address of each, by segment and position."""
    timeline = content.timeline
    lines = [f"# {escape_markdown(plain(timeline.title))}", ""]
    facts = timeline.clip.facts
    about = [escape_markdown(facts.describe())] if facts is not None else []
    about.append(f"described by {escape_markdown(timeline.model)}" if timeline.model else "")
    about.append(f"asked: {escape_markdown(plain(timeline.columns.get(CAPTION, '')))}")
    lines += [" · ".join(filter(None, about)), ""]
    lines += [line for note in timeline.notes for line in (f"> {escape_markdown(plain(note))}", "")]
    lines += [*_summaries(content), *_moments(content)]
    for number, segment in enumerate(content.leaves, start=1):
        lines += _segment(content, segment, number, pictures)
    return "\n".join(lines).rstrip() + "\n"


def _summaries(content: Content) -> list[str]:
    lines: list[str] = []
    for summary in content.summaries:
        lines += [f"## Summary: {escape_markdown(plain(summary.question))}", ""]
        lines += [
            f"- {escape_markdown(plain(s.text))} ({s.times_text()}. {VERDICTS[s.verdict]}.)" for s in summary.statements
        ]
        lines += [""] if summary.statements else ["*Not finished*", ""]
    return lines


def _moments(content: Content) -> list[str]:
    lines: list[str] = []
    for curve in content.curves:
        lines += [f"## Moments: {escape_markdown(plain(curve.typed))}", ""]
        lines += [
            f"- {time_text(m.seconds, 1)} {escape_markdown(plain(m.text))} ({m.probability:.0%})" for m in curve.moments
        ]
        lines += [""] if curve.moments else ["*No such moment*", ""]
    return lines


def _segment(content: Content, segment: Segment, number: int, pictures: dict[tuple[int, int], str]) -> list[str]:
    lines = [f"## {number}. {time_text(segment.start_seconds)} to {time_text(segment.end_seconds)}", ""]
    images = [
        f"![Frame at {time_text(frame.timestamp_seconds, 2)}]({name})"
        for position, frame in enumerate(segment.frames)
        if (name := pictures.get((segment.identity, position))) is not None
    ]
    lines += [" ".join(images), ""] if images else []
    lines += _answer(segment, CAPTION)
    for column, question in content.questions.items():
        lines += [f"**{escape_markdown(plain(question))}**", "", *_answer(segment, column)]
    if segment.note.strip():
        lines += [f"Note: {escape_markdown(plain(segment.note), keep_lines=True)}", ""]
    return [*lines, *(line for note in segment.notes for line in (f"> {escape_markdown(plain(note))}", ""))]


def _answer(segment: Segment, column: int) -> list[str]:
    answer = segment.answers.get(column)
    if answer is None:
        return ["*Not asked yet*", ""]
    if answer.error and answer.edited is None:
        return [f"*No answer: {escape_markdown(plain(answer.error))}*", ""]
    lines = [safe_markdown(plain(answer.words)) or "*No words*", ""]
    if (original := original_of(segment, column)) is not None:
        lines += [f"Edited. The model’s words: {escape_markdown(plain(original))}", ""]
    return lines

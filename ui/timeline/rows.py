"""What the list of segments shows, as plain data for its script. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smolvlm_core.timeline.records import Answer, Segment
from smolvlm_core.times import time_text

CUT_OFF = {
    "length": "Cut at the longest answer allowed (see Settings).",
    "context": "Cut: the model's context is full.",
}


def range_text(segment: Segment) -> str:
    """To a tenth of a second; segments can begin at any frame."""
    return " – ".join(time_text(round(seconds, 1)) for seconds in segment.range_seconds)


def in_order(segments: Sequence[Segment]) -> list[Segment]:
    """Chapters and what refines them, by time; each chapter before its segments."""
    parents = {segment.parent for segment in segments}
    return sorted(segments, key=lambda s: (s.start_seconds, s.identity not in parents, s.identity))


def of_segments(shown: Sequence[Segment], segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """One row for each of `shown`, which are some of a timeline's `segments`. Those that others refine are chapters."""
    parents = {segment.parent for segment in segments}
    return [_row(segment, segment.identity in parents) for segment in shown]


def unanswered(segments: Sequence[Segment], columns: Sequence[int]) -> tuple[int, int]:
    """(answers that were not asked for yet, answers that failed)"""
    answers = [segment.answers.get(number) for segment in segments for number in columns]
    return sum(answer is None for answer in answers), sum(bool(answer and answer.error) for answer in answers)


def _row(segment: Segment, is_chapter: bool) -> dict[str, Any]:
    return {
        "id": segment.identity,
        "start": segment.start_seconds,
        "label": range_text(segment),
        "chapter": is_chapter,
        "frames": [
            [frame.timestamp_seconds, time_text(frame.timestamp_seconds, 2), frame.sha256[:16]]
            for frame in segment.frames
        ],
        "answers": [_answer(number, answer) for number, answer in sorted(segment.answers.items())],
        "note": segment.note,
        "notes": list(segment.notes),
    }


def _answer(number: int, answer: Answer) -> dict[str, Any]:
    """`model`: the model's words, where a person has edited them; else None."""
    stopped = answer.stats.stop_reason if answer.stats is not None else ""
    return {
        "column": number,
        "text": answer.words,
        "model": answer.text if answer.edited is not None else None,
        "error": answer.error,
        "cut": CUT_OFF.get(stopped, "") if answer.edited is None else "",
    }

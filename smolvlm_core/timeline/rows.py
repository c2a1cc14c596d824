"""Rows of the timeline database as records. Whatever is in a row, what cannot be read is left out and told."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from smolvlm_core.fields import FieldError, read_object, read_value, seconds_of
from smolvlm_core.prompt.generation import Stats
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.timeline.records import CAPTION, Answer, Clip, Request, Segment, Timeline

T = TypeVar("T")
Tell = Callable[[str], None]
_UNREADABLE = (FieldError, ValueError, RecursionError)


def timeline_of(row: sqlite3.Row, columns: Sequence[sqlite3.Row], tell: Tell) -> Timeline | None:
    """None where it cannot be read. `columns`: of any timelines."""
    try:
        kind = read_value(Any, row["kind"])
        if kind not in ("clip", "live"):
            raise FieldError(f"{kind!r:.40} is no kind of timeline")
        request = read_object(Request, json.loads(row["request"]))
        questions = {read_value(int, c["number"]): str(c["question"]) for c in columns if c["timeline"] == row["id"]}
        return Timeline(
            identity=str(row["id"]),
            kind=kind,
            clip=read_object(Clip, json.loads(row["clip"])),
            request=request,
            created=seconds_of(row["created"]),
            model=str(row["model"]),
            columns={CAPTION: request.prompt} | questions,
            notes=_texts(row["notes"]),
        )
    except (*_UNREADABLE, TypeError) as error:
        tell(f"The timeline {str(row['id'])[:40]} cannot be read: {error}.")
        return None


def segments_of(
    found: Sequence[sqlite3.Row], frames: Sequence[sqlite3.Row], answers: Sequence[sqlite3.Row], tell: Tell
) -> list[Segment]:
    """The segments of one timeline, with their frames and answers."""
    shown: dict[object, list[FrameRef]] = defaultdict(list)
    for row in frames:
        if (frame := _read(_frame, row, "A frame", tell)) is not None:
            shown[row["segment"]].append(frame)
    said: dict[object, dict[int, Answer]] = defaultdict(dict)
    for row in answers:
        if (answer := _read(lambda row: _answer(row, tell), row, "An answer", tell)) is not None:
            said[row["segment"]][row["number"]] = answer
    read = (
        _read(lambda row: _segment(row, shown[row["id"]], said[row["id"]]), row, "A segment", tell) for row in found
    )
    return [segment for segment in read if segment is not None]


def _read(read: Callable[[sqlite3.Row], T], row: sqlite3.Row, what: str, tell: Tell) -> T | None:
    try:
        return read(row)
    except _UNREADABLE as error:
        tell(f"{what} of a timeline cannot be read: {error}.")
        return None


def _segment(row: sqlite3.Row, frames: Sequence[FrameRef], answers: dict[int, Answer]) -> Segment:
    return Segment(
        identity=read_value(int, row["id"]),
        start_seconds=seconds_of(row["start"]),
        end_seconds=seconds_of(row["stop"]),
        parent=read_value(int | None, row["parent"]),
        frames=tuple(frames),
        answers=answers,
        note=str(row["note"]),
        notes=_texts(row["notes"]),
    )


def _frame(row: sqlite3.Row) -> FrameRef:
    return FrameRef(seconds_of(row["seconds"]), read_value(int, row["number"]), str(row["sha256"]))


def moment_of(value: object) -> float:
    """In seconds since 1970; 0 where it cannot be read."""
    try:
        return seconds_of(value)
    except FieldError:
        return 0.0


def json_of(text: object, tell: Tell) -> Any:
    """None where it cannot be read."""
    try:
        return json.loads(str(text))
    except _UNREADABLE as error:
        tell(f"Something kept with a timeline cannot be read: {error}.")
        return None


def _answer(row: sqlite3.Row, tell: Tell) -> Answer:
    read_value(int, row["number"])
    answer = Answer(
        text=str(row["text"]),
        edited=None if row["edited"] is None else str(row["edited"]),
        error=str(row["error"]),
        model=str(row["model"]),
        weights=str(row["weights"]),
        prompt=str(row["prompt"]),
        finished=seconds_of(row["finished"]),
    )
    if row["stats"] is None:
        return answer
    try:
        return replace(answer, stats=_stats(str(row["stats"])))
    except _UNREADABLE as error:
        tell(f"The statistics of an answer of a timeline cannot be read: {error}.")
        return answer


@lru_cache(maxsize=8192)  # a page reads a timeline in each run, and this is most of the time
def _stats(text: str) -> Stats:
    return read_object(Stats, json.loads(text))


def _texts(value: object) -> tuple[str, ...]:
    try:
        return read_value(tuple[str, ...], json.loads(str(value)))  # type: ignore[no-any-return]
    except _UNREADABLE:
        return ()

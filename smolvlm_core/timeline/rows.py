"""Rows of the timeline database as records. Whatever is in a row, what cannot be read is left out and told."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from smolvlm_core.fields import FieldError, read_object, read_value, seconds_of
from smolvlm_core.prompt.generation import Stats
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.timeline.records import CAPTION, Answer, Clip, Request, Segment, Timeline

Tell = Callable[[str], None]
_UNREADABLE = (FieldError, ValueError, RecursionError)


def timeline_of(row: sqlite3.Row, columns: Sequence[sqlite3.Row], tell: Tell) -> Timeline | None:
    """None where it cannot be read. `columns`: of any timelines."""
    try:
        kind = read_value(Any, row["kind"])
        if kind not in ("clip", "live"):
            raise FieldError(f"{kind!r:.40} is no kind of timeline")
        request = read_object(Request, json.loads(row["request"]))
        questions = {int(c["number"]): str(c["question"]) for c in columns if c["timeline"] == row["id"]}
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
    shown: dict[int, list[FrameRef]] = defaultdict(list)
    for row in frames:
        shown[row["segment"]].append(FrameRef(float(row["seconds"]), int(row["number"]), str(row["sha256"])))
    said: dict[int, dict[int, Answer]] = defaultdict(dict)
    for row in answers:
        said[row["segment"]][int(row["number"])] = _answer(row, tell)
    return [
        Segment(
            identity=int(row["id"]),
            start_seconds=float(row["start"]),
            end_seconds=float(row["stop"]),
            parent=row["parent"],
            frames=tuple(shown[row["id"]]),
            answers=said[row["id"]],
            note=str(row["note"]),
            notes=_texts(row["notes"]),
        )
        for row in found
    ]


def json_of(text: object, tell: Tell) -> Any:
    """None where it cannot be read."""
    try:
        return json.loads(str(text))
    except _UNREADABLE as error:
        tell(f"Something kept with a timeline cannot be read: {error}.")
        return None


def _answer(row: sqlite3.Row, tell: Tell) -> Answer:
    answer = Answer(
        text=str(row["text"]),
        edited=None if row["edited"] is None else str(row["edited"]),
        error=str(row["error"]),
        model=str(row["model"]),
        weights=str(row["weights"]),
        prompt=str(row["prompt"]),
        finished=float(row["finished"]),
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

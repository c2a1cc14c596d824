"""Everything that is stored of a timeline, as one JSON object. `docs/timeline.schema.json` describes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from smolvlm_core.text import with_valid_texts
from smolvlm_core.timeline.export.content import Content
from smolvlm_core.timeline.records import Answer, Segment

FORMAT = "smolvlm-lens/timeline/1"


def to_json(content: Content) -> tuple[str, list[str]]:
    """(the file, nothing). Segments of all levels, by time; a frame's SHA-256 is that of its PNG."""
    return json.dumps(with_valid_texts(value_of(content)), indent=1, ensure_ascii=False) + "\n", []


def value_of(content: Content) -> dict[str, Any]:
    timeline = content.timeline
    clip = asdict(timeline.clip)
    clip.pop("path")  # says how folders of this machine are called
    return {
        "format": FORMAT,
        "identity": timeline.identity,
        "kind": timeline.kind,
        "created": timeline.created,
        "clip": clip,
        "model": timeline.model,
        "request": asdict(timeline.request),
        "columns": [{"number": number, "question": text} for number, text in sorted(timeline.columns.items())],
        "notes": list(timeline.notes),
        "segments": [_segment(segment) for segment in content.segments],
        "summaries": [asdict(summary) for summary in content.summaries],
        "moments": [curve.as_row() for curve in content.curves],
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "identity": segment.identity,
        "parent": segment.parent,
        "start_seconds": segment.start_seconds,
        "end_seconds": segment.end_seconds,
        "frames": [
            {"timestamp_seconds": f.timestamp_seconds, "frame_index": f.frame_index, "sha256": f.sha256}
            for f in segment.frames
        ],
        "answers": [_answer(number, answer) for number, answer in sorted(segment.answers.items())],
        "note": segment.note,
        "notes": list(segment.notes),
    }


def _answer(number: int, answer: Answer) -> dict[str, Any]:
    return {
        "column": number,
        "words": answer.words,
        "text": answer.text,
        "edited": answer.edited,
        "error": answer.error,
        "model": answer.model,
        "weights": answer.weights,
        "prompt": answer.prompt,
        "stats": asdict(answer.stats) if answer.stats is not None else None,
        "finished": answer.finished,
    }

"""Converts database rows to messages. Skips unknown fields, so it reads rows from earlier and later versions."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message

logger = logging.getLogger(__name__)
T = TypeVar("T")


def message_of(row: sqlite3.Row) -> Message:
    return Message(
        role=row["role"],
        text=row["text"],
        attachments=attachments_of(row["attachments"]),
        id=row["id"],
        reply_to=row["reply_to"],
        status=row["status"],
        active=bool(row["active"]),
        model=row["model"],
        revision=row["revision"],
        settings=_object(GenerationSettings, row["settings"]),
        stats=_object(Stats, row["stats"]),
        error=row["error"],
        created=row["created"],
    )


def attachments_json(attachments: tuple[Attachment, ...]) -> str:
    return json.dumps([asdict(attachment) for attachment in attachments])


def attachments_of(text: str) -> tuple[Attachment, ...]:
    """Parse attachments. Unreadable ones are skipped and logged."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        logger.warning("the attachments of a message cannot be read: %s", error)
        return ()
    attachments = [_attachment(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(attachment for attachment in attachments if attachment is not None)


def _attachment(row: dict[str, Any]) -> Attachment | None:
    ends = row.get("range_seconds")
    try:
        frames = tuple(_from_fields(FrameRef, frame) for frame in row.get("frames", ()))
        plain = {
            **row,
            "frames": frames,
            "notes": tuple(row.get("notes", ())),
            "range_seconds": (float(ends[0]), float(ends[1])) if ends else None,
        }
        return _from_fields(Attachment, plain)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        logger.warning("an attachment cannot be read: %s", error)
        return None


def _object(kind: type[T], text: str | None) -> T | None:
    if not text:
        return None
    try:
        return _from_fields(kind, json.loads(text))
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        logger.warning("%s of a message cannot be read: %s", kind.__name__, error)
        return None


def _from_fields(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a `kind` from the values it has fields for. Missing fields get their defaults."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in names})

"""Converts database rows to messages. Skips unknown fields, so it reads rows from earlier and later versions."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

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
    """An object of the fields that `kind` has and whose values are of the right type; the others take their defaults.

    Raises:
        TypeError: it is not an object, or a field without a default is missing.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r:.80} is not an object")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    fitting = {name: values[name] for name in names if name in values and _fits(values[name], hints[name])}
    return kind(**fitting)


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is of an annotated type. Containers are not looked into."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def hashes_in(text: str) -> set[str]:
    """Every SHA-256 that stored attachments name, those of attachments that cannot be read included."""
    shown = {frame.sha256 for a in attachments_of(text) for frame in a.frames} | {
        a.sha256 for a in attachments_of(text)
    }
    return shown | set(re.findall(r"\b[0-9a-f]{64}\b", text))


def with_shown(text: str, sha256: str, shown: bool) -> str:
    """Stored attachments in which one is shown or hidden. Everything else stays as it is."""
    rows = json.loads(text)
    for row in rows:
        if isinstance(row, dict) and row.get("sha256") == sha256:
            row["shown"] = shown
    return json.dumps(rows)

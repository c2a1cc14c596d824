"""Converts database rows to messages, those of earlier and later versions and damaged ones too. Knows no database.

What cannot be read is left out and reported: `tell` gets a sentence about each.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, TypeVar, get_args

from smolvlm_core.fields import FieldError, Tell, ignore, read_object, seconds_of
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import AnswerStatus, Attachment, Message
from smolvlm_core.text import valid_text

T = TypeVar("T")
PLAIN = ("role", "text", "id", "reply_to", "parent", "status", "active", "model", "revision", "error", "created")
MAX_SIDE_PX = 1_000_000


def message_of(row: Mapping[str, Any] | sqlite3.Row, tell: Tell = ignore) -> Message | None:
    """None where it is no message: its text or role cannot be read."""
    number = row["id"]

    def say(problem: str) -> None:
        tell(f"Message {number}: {problem}.")

    plain = {name: row[name] for name in PLAIN}
    if isinstance(plain["text"], bytes):
        plain["text"] = plain["text"].decode("utf-8", "replace")
    plain["active"] = bool(plain["active"])
    if plain["status"] not in get_args(AnswerStatus):
        say("its status cannot be read")
        plain["status"] = "interrupted"  # never shown as a complete answer
    try:
        message = read_object(Message, plain, say)
    except FieldError as error:
        say(f"it cannot be read and is not shown: {error}")
        return None
    return replace(
        message,
        attachments=attachments_of(row["attachments"], say),
        settings=_object(GenerationSettings, row["settings"], say),
        stats=_object(Stats, row["stats"], say),
    )


def messages_of(rows: Sequence[sqlite3.Row], tell: Tell = ignore) -> list[Message]:
    """Those of a conversation in the order of their ids. One that cannot be read hides no other: what follows it follows the
    message before it."""
    read = [(row, _remembered(row) or message_of(row, tell)) for row in rows]
    questions = {message.id for _, message in read if message is not None and message.role == "user"}
    shown = {m.id for _, m in read if m is not None and (m.role == "user" or m.reply_to in questions)}
    before = {row["id"]: _before(row) for row, _ in read}
    messages: list[Message] = []
    last: int | None = None
    for row, message in read:
        if message is None:
            continue
        if message.role == "user":
            message = replace(message, parent=_readable(before, row["id"], shown, last))
        if message.id in shown:
            last = message.id
        messages.append(message)
    return messages


def _remembered(row: sqlite3.Row) -> Message | None:
    """A message without damage, read once. An answer that grows is another row each time, and is not kept."""
    return _whole(tuple(row.keys()), tuple(row)) if row["status"] != "running" else None


@lru_cache(maxsize=4096)
def _whole(names: tuple[str, ...], values: tuple[Any, ...]) -> Message | None:
    """A message without damage: a page reads the same rows in each run. None where there is something to report."""
    problems: list[str] = []
    message = message_of(dict(zip(names, values)), problems.append)
    return None if problems else message


def _before(row: sqlite3.Row) -> object:
    """What a row names as the message before it."""
    return row["parent"] if row["reply_to"] is None else row["reply_to"]


def _readable(before: Mapping[Any, object], identity: int, shown: Set[int], last: int | None) -> int | None:
    """The nearest message before one that can be shown. `last`: where the way to it is damaged."""
    named = before[identity]
    while named is not None:
        if not isinstance(named, int) or named >= identity or named not in before:
            return last
        if named in shown:
            return named
        identity, named = named, before[named]
    return None


def moment_of(value: object, tell: Tell) -> float:
    """Seconds since the epoch; 0 where a calendar cannot show it."""
    try:
        return seconds_of(value)
    except FieldError as error:
        tell(str(error))
        return 0.0


def attachments_json(attachments: tuple[Attachment, ...]) -> str:
    return json.dumps([asdict(_clean(attachment)) for attachment in attachments])


def _clean(attachment: Attachment) -> Attachment:
    """File names can hold bytes that are no text."""
    notes = tuple(map(valid_text, attachment.notes))
    return replace(attachment, name=valid_text(attachment.name), notes=notes)


def attachments_of(text: object, tell: Tell = ignore) -> tuple[Attachment, ...]:
    """Parse attachments. Unreadable ones are left out."""
    rows = _parsed(text, "its attachments", tell)
    if rows is None:
        return ()
    if not isinstance(rows, list):
        tell("its attachments are not a list")
        return ()
    attachments = [_attachment(row, tell) for row in rows]
    return tuple(attachment for attachment in attachments if attachment is not None)


def _attachment(row: object, tell: Tell) -> Attachment | None:
    def say(problem: str) -> None:
        tell(f"a picture or clip: {problem}")

    try:
        attachment = read_object(Attachment, row, say)
        if not (0 < attachment.width <= MAX_SIDE_PX and 0 < attachment.height <= MAX_SIDE_PX):
            raise FieldError(f"{attachment.width} × {attachment.height} px is no size")
        return attachment
    except FieldError as error:
        say(f"it cannot be read and is not shown: {error}")
        return None


def _object(kind: type[T], text: object, tell: Tell) -> T | None:
    name = "its settings" if kind is GenerationSettings else "its figures"
    value = _parsed(text, name, tell) if text else None
    try:
        return read_object(kind, value, lambda problem: tell(f"{name}: {problem}")) if value is not None else None
    except FieldError as error:
        tell(f"{name} cannot be read: {error}")
        return None


def _parsed(text: object, name: str, tell: Tell) -> Any:
    """The value of JSON text; None where it is none."""
    try:
        if not isinstance(text, str | bytes):
            raise ValueError(f"{type(text).__name__} is not text")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        tell(f"{name} cannot be read: {error}")
        return None


def hashes_in(text: object) -> set[str]:
    """Every SHA-256 that stored attachments name, those of attachments that cannot be read included."""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    attachments = attachments_of(plain)
    shown = {frame.sha256 for a in attachments for frame in a.frames} | {a.sha256 for a in attachments}
    return shown | set(re.findall(r"\b[0-9a-f]{64}\b", plain))


def with_shown(text: str, sha256: str, shown: bool) -> str:
    """Stored attachments in which one is shown or hidden. Everything else stays as it is.

    Raises:
        ValueError, TypeError, RecursionError: they are no JSON list.
    """
    rows = json.loads(text)
    for row in rows:
        if isinstance(row, dict) and row.get("sha256") == sha256:
            row["shown"] = shown
    return json.dumps(rows)

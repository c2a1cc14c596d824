"""Imports a conversation from the JSON that `export` writes, of earlier versions too.

A file can come from anyone: it is bounded, each picture is decoded and checked as an upload is, hashes are computed again, and the
conversation is stored whole or not at all. Clips are not in such a file; their frames are.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from smolvlm_core import media
from smolvlm_core.conversations import schema
from smolvlm_core.conversations.export import FORMAT, VERSION
from smolvlm_core.conversations.rows import MAX_SIDE_PX, attachments_json
from smolvlm_core.conversations.store import ConversationInfo, Store
from smolvlm_core.errors import ConversationFileError, LensError
from smolvlm_core.fields import UNKNOWN, FieldError, read_object, seconds_of
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.video import Strategy

MAX_BYTES = 256 * 2**20
MAX_MESSAGES = 5_000
MAX_PICTURES = 5_000
MAX_SHOWN = 20_000  # pictures and frames of all messages: one can be in several
MAX_VALUES = 2_000_000  # in the file, without texts: each takes up to 100 bytes of memory
MAX_PIXELS = 2_000_000_000  # of all pictures together: some seconds of decoding
TITLE_CHARACTERS = 200
HINT = "Choose a file that this app exported as JSON."
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Imported:
    """The new conversation. `missing`: how many pictures and frames the file names but does not have."""

    info: ConversationInfo
    missing: int = 0


@dataclass(frozen=True)
class _Picture:
    data: bytes
    mime: str
    width: int
    height: int


def import_json(store: Store, data: bytes) -> Imported:
    """Add the conversation of a file to the store, under new ids.

    Raises:
        ConversationFileError: it is no export, or something in it is damaged or too large. Nothing is stored.
        StoreError: the store cannot be written. Nothing is stored.
    """
    value = _parsed(data)
    info = _info(value["conversation"])
    messages = _messages(value["messages"])
    pictures, missing = _pictures(messages, value["media"])
    messages = [replace(m, attachments=tuple(_checked(a, pictures) for a in m.attachments)) for m in messages]
    has_parents = any("parent" in row for row in value["messages"])
    new: set[str] = set()
    try:
        for picture in pictures.values():
            new.add(store.media.add(picture.data, "picture", picture.mime))
        info = _store(store, info, messages, has_parents=has_parents)
    except BaseException:
        store.discard(new)  # those that no other conversation uses
        raise
    return Imported(info, missing)


def _parsed(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_BYTES:
        raise ConversationFileError(
            f"The file has {len(data) / 2**20:.0f} MB. The limit is {MAX_BYTES // 2**20} MB.", HINT
        )
    if sum(map(data.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise ConversationFileError(f"The file has more than {MAX_VALUES:,} values.", HINT)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConversationFileError(f"The file is not JSON: {str(error)[:200]}.", HINT) from error
    kinds = {"conversation": dict, "messages": list, "media": dict}
    if not isinstance(value, dict) or not all(isinstance(value.get(name), kind) for name, kind in kinds.items()):
        raise ConversationFileError("The file is not a conversation of this app.", HINT)
    if value.get("format", FORMAT) != FORMAT:
        raise ConversationFileError("The file is an export of something else.", HINT)
    version = value.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise ConversationFileError("The file was written by a newer version of this app.", "Update the app.")
    return value


def _info(value: object) -> ConversationInfo:
    try:
        info = read_object(ConversationInfo, value)
        for moment in (info.created, info.updated):
            seconds_of(moment)
    except FieldError as error:
        raise ConversationFileError(f"The conversation cannot be read: {error}.", HINT) from error
    return replace(info, id=uuid.uuid4().hex, title=info.title.strip()[:TITLE_CHARACTERS] or "Untitled")


def _messages(rows: list[object]) -> list[Message]:
    """In the order of their ids. Each one names only earlier ones."""
    if len(rows) > MAX_MESSAGES:
        raise ConversationFileError(f"The file has {len(rows):,} messages; {MAX_MESSAGES:,} are allowed.", HINT)
    messages = sorted((_message(number, row) for number, row in enumerate(rows, 1)), key=lambda message: message.id)
    roles: dict[int, str] = {}
    for message in messages:
        is_answer = message.role == "assistant"
        before = message.reply_to if is_answer else message.parent
        if message.id in roles or message.id <= 0:
            raise ConversationFileError(f"Two messages have the id {message.id}, or it is no id.", HINT)
        if (is_answer and roles.get(before or 0) != "user") or (before is not None and before not in roles):
            raise ConversationFileError(f"Message {message.id} follows a message that is not in the file.", HINT)
        roles[message.id] = message.role
    if not messages:
        raise ConversationFileError("The conversation in the file is empty.", HINT)
    return messages


def _message(number: int, row: object) -> Message:
    def refuse(problem: str) -> None:
        if not problem.startswith(UNKNOWN):  # fields of a later version
            raise FieldError(problem)

    try:
        message = read_object(Message, row, refuse)
        seconds_of(message.created)
        for attachment in message.attachments:
            _refuse_damaged(attachment)
    except FieldError as error:
        raise ConversationFileError(f"Message {number} in the file cannot be read: {error}.", HINT) from error
    status = "interrupted" if message.status == "running" else message.status
    message = replace(message, status=status, pieces=())
    return replace(message, parent=None) if message.role == "assistant" else replace(message, reply_to=None)


def _refuse_damaged(attachment: Attachment) -> None:
    """Raises FieldError."""
    hashes = [attachment.sha256, *(frame.sha256 for frame in attachment.frames)]
    if not all(_SHA256.fullmatch(sha256) for sha256 in hashes):
        raise FieldError(f"a picture of {attachment.name!r:.80} is not named by a SHA-256")
    if min([attachment.duration_seconds, *(frame.timestamp_seconds for frame in attachment.frames)]) < 0:
        raise FieldError(f"a time of {attachment.name!r:.80} is negative")
    if not (0 < attachment.width <= MAX_SIDE_PX and 0 < attachment.height <= MAX_SIDE_PX):
        raise FieldError(f"{attachment.width} × {attachment.height} px is no size")
    start, end = attachment.range_seconds or (0.0, 0.0)
    if not 0 <= start <= end:
        raise FieldError(f"{start} to {end} seconds is no range")
    if attachment.kind == "video" and not attachment.frames:
        raise FieldError(f"the clip {attachment.name!r:.80} has no frames")
    if attachment.strategy not in ("", "hand", *get_args(Strategy)):
        raise FieldError(f"{attachment.strategy!r:.80} is no way to choose frames")


def _named(messages: list[Message]) -> Iterator[tuple[str, str]]:
    """SHA-256 and name of each picture and frame."""
    for attachment in (attachment for message in messages for attachment in message.attachments):
        if attachment.kind == "image":
            yield attachment.sha256, attachment.name
        yield from ((frame.sha256, f"a frame of {attachment.name}") for frame in attachment.frames)


def _pictures(messages: list[Message], files: Mapping[str, object]) -> tuple[dict[str, _Picture], int]:
    """The pictures that messages name, checked, and how many of them the file does not have."""
    shown = list(_named(messages))
    named = dict(shown)
    if len(shown) > MAX_SHOWN:
        raise ConversationFileError(f"The messages show {len(shown):,} pictures; {MAX_SHOWN:,} are allowed.", HINT)
    if len(named) > MAX_PICTURES:
        raise ConversationFileError(f"The file has {len(named):,} pictures; {MAX_PICTURES:,} are allowed.", HINT)
    pictures: dict[str, _Picture] = {}
    pixels = 0
    for sha256, name in named.items():
        if not (text := files.get(sha256)):  # an export says "" where a file was missing
            continue
        picture = pictures[sha256] = _picture(sha256, name, text)
        pixels += picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise ConversationFileError(f"The pictures have more than {MAX_PIXELS // 10**6:,} megapixels.", HINT)
    return pictures, len(named) - len(pictures)


def _picture(sha256: str, name: str, text: object) -> _Picture:
    try:
        data = base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConversationFileError(f"The picture {name!r:.80} in the file is not base64.", HINT) from error
    if media.sha256_of(data) != sha256:
        raise ConversationFileError(f"The picture {name!r:.80} in the file is not the one that was exported.", HINT)
    try:
        opened = media.open_image(data, name[:80])
    except LensError as error:
        raise ConversationFileError(str(error), HINT) from error
    return _Picture(data, opened.mime, opened.width, opened.height)


def _checked(attachment: Attachment, pictures: Mapping[str, _Picture]) -> Attachment:
    """Its size and type as its picture has them, not as the file says."""
    if attachment.kind == "image":
        found = pictures.get(attachment.sha256)
        if found is None:
            return attachment
        return replace(attachment, width=found.width, height=found.height, mime=found.mime)
    first = next((pictures[frame.sha256] for frame in attachment.frames if frame.sha256 in pictures), None)
    width, height = (first.width, first.height) if first else (attachment.width, attachment.height)
    return replace(attachment, mime="video/mp4", width=width, height=height)


def _store(store: Store, info: ConversationInfo, messages: list[Message], *, has_parents: bool) -> ConversationInfo:
    ids: dict[int | None, int | None] = {None: None}
    with store.transaction() as db:
        row = (info.id, info.kind, info.title, info.created, info.updated)
        db.execute("INSERT INTO conversations (id, kind, title, created, updated) VALUES (?, ?, ?, ?, ?)", row)
        for message in messages:
            values = {
                "conversation_id": info.id,
                "role": message.role,
                "text": message.text,
                "attachments": attachments_json(message.attachments),
                "reply_to": ids[message.reply_to],
                "parent": ids[message.parent],
                "status": message.status,
                "active": message.active,
                "model": message.model,
                "revision": message.revision,
                "settings": json.dumps(asdict(message.settings)) if message.settings else None,
                "stats": json.dumps(asdict(message.stats)) if message.stats else None,
                "error": message.error,
                "created": message.created,
            }
            names = ", ".join(values)
            places = ", ".join(f":{name}" for name in values)
            ids[message.id] = db.execute(f"INSERT INTO messages ({names}) VALUES ({places})", values).lastrowid
        if not has_parents:  # an export of before version 3
            for statement in schema.BRANCHES:
                db.execute(statement, {"conversation": info.id})
    return info

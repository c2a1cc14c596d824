"""Exports a conversation as one Markdown or JSON file with its images and frames, and names the file.

`export_html` writes a page to read and share, `importing` reads the JSON again.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from smolvlm_core import media
from smolvlm_core.conversations.store import ConversationInfo, Store
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.markdown import safe_markdown
from smolvlm_core.prompt.messages import Attachment, Message, active_turns
from smolvlm_core.text import escape_markdown
from smolvlm_core.times import length_text, time_text

FORMAT, VERSION = "smolvlm-lens conversation", 3
NAME_CHARACTERS = 60
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks of texts and Exif data (W3C, PNG, 11.3)
# What Windows does not allow in a name (Microsoft, "Naming Files, Paths, and Namespaces").
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\u2028-\u202e\u2066-\u2069]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.I)


def file_name(title: str, suffix: str) -> str:
    """A title as a file name that every system takes, cut at the end of a word."""
    name = " ".join(_UNSAFE.sub(" ", title).split())
    if len(name) > NAME_CHARACTERS:
        name = name[: NAME_CHARACTERS + 1].rpartition(" ")[0] or name[:NAME_CHARACTERS]
    name = name.strip(" .")
    return f"{'conversation ' if not name or _RESERVED.match(name) else ''}{name}".strip() + f".{suffix}"


def other_versions(messages: list[Message]) -> str:
    """How many questions and answers are not in the chosen branch, as a sentence. Empty where there are none."""
    shown = {message.id for turn in active_turns(messages) for message in turn if message is not None}
    others = [message for message in messages if message.id not in shown]
    counts = [
        (sum(m.role == role for m in others), word) for role, word in (("user", "question"), ("assistant", "answer"))
    ]
    parts = " and ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)
    return f"Not shown here: {parts} in other versions of this conversation." if parts else ""


def figures_of(answer: Message) -> str:
    """Model, speed and tokens of an answer in one line."""
    return " · ".join([answer.model, *([answer.stats.summary()] if answer.stats else [])])


def picture_uri(store: Store, sha256: str, mime: str) -> str:
    """A stored picture as a data URI that every viewer shows: PNG as PNG, others as JPEG. Empty where it cannot be read.

    It is encoded again where the file may tell more than the picture, such as where it was taken.
    """
    try:
        if mime == "image/png":
            data = store.media.bytes(sha256)
            tells_more = any(chunk in data for chunk in _PNG_TEXTS)
            return media.data_uri(media.png_bytes(store.media.picture(sha256)) if tells_more else data)
        return media.data_uri(media.jpeg_bytes(store.media.picture(sha256)), "image/jpeg")
    except LensError:
        return ""  # a missing file must not block the export of the rest


def to_markdown(store: Store, info: ConversationInfo) -> str:
    """The chosen branch in order, with images and frames as data URIs."""
    lines = [
        f"# {escape_markdown(info.title)}",
        "",
        f"{info.kind.capitalize()} chat of {day_of(info.created)}.",
        "",
    ]
    messages = store.messages(info.id)
    if others := other_versions(messages):
        lines += [others, ""]
    for question, answer in active_turns(messages):
        lines += _question_lines(question.text)
        for attachment in question.attachments:
            lines += [*_attachment_lines(store, attachment), ""]
        if answer is not None:
            lines += [safe_markdown(answer.text) or "*No answer.*", ""]
            if answer.status != "complete":
                lines += [f"*{answer.status}* {escape_markdown(answer.error)}".rstrip(), ""]
            lines += [f"<sub>{escape_markdown(figures_of(answer))}</sub>", ""]
    return "\n".join(lines)


def _question_lines(text: str) -> list[str]:
    """The first line as a heading, the others below it: what a user typed or pasted is shown as it is."""
    first, *others = (escape_markdown(line) for line in text.splitlines() or [""])
    return [f"## {first}".rstrip(), "", "\\\n".join(others), ""]


def to_json(store: Store, info: ConversationInfo) -> str:
    """The whole record of a conversation, with all branches. Images and frames are base64, keyed by SHA-256; clips are not in it."""
    messages = store.messages(info.id)
    media_keys = {a.sha256 for m in messages for a in m.attachments if a.kind == "image"}
    media_keys |= {f.sha256 for m in messages for a in m.attachments for f in a.frames}
    value: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "conversation": asdict(info),
        "messages": [asdict(m) for m in messages],
        "media": {sha256: _base64(store, sha256) for sha256 in sorted(media_keys)},
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _attachment_lines(store: Store, attachment: Attachment) -> list[str]:
    hidden = "" if attachment.shown else " (no longer shown to the model)"
    if attachment.kind == "image":
        return [
            f"![{escape_markdown(attachment.name)}]({picture_uri(store, attachment.sha256, attachment.mime)}){hidden}"
        ]
    seconds = length_text(attachment.duration_seconds)
    lines = [
        f"Clip {escape_markdown(attachment.name)}, {seconds}, {len(attachment.frames)} frames read with "
        f"{escape_markdown(attachment.decoder)}{hidden}:",
        "",
    ]
    return lines + [
        f"{time_text(f.timestamp_seconds, 2)} ![frame]({picture_uri(store, f.sha256, 'image/png')})"
        for f in attachment.frames
    ]


def _base64(store: Store, sha256: str) -> str:
    try:
        return base64.b64encode(store.media.bytes(sha256)).decode()
    except StoreError:
        return ""  # as above


def day_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

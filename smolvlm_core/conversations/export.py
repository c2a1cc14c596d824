"""A conversation as Markdown or JSON that stands by itself, the pictures and frames in it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from smolvlm_core.conversations.store import ConversationInfo, Store
from smolvlm_core.errors import StoreError
from smolvlm_core.prompt.messages import Attachment, active_turns
from smolvlm_core.prompt.template import clock
from smolvlm_core.text import without_images


def to_markdown(store: Store, info: ConversationInfo) -> str:
    """What is shown in the chat, in order; pictures and frames as data URIs."""
    lines = [f"# {without_images(info.title)}", "", f"{info.kind.capitalize()} chat of {_day(info.created)}.", ""]
    for question, answer in active_turns(store.messages(info.id)):
        lines += [f"## {without_images(question.text)}", ""]
        for attachment in question.attachments:
            lines += [*_attachment_lines(store, attachment), ""]
        if answer is not None:
            lines += [without_images(answer.text) or "*No answer.*", ""]
            if answer.status != "complete":
                lines += [f"*{answer.status}* {without_images(answer.error)}".rstrip(), ""]
            lines += [f"<sub>{answer.model} {f'· {answer.stats.summary()}' if answer.stats else ''}</sub>", ""]
    return "\n".join(lines)


def to_json(store: Store, info: ConversationInfo) -> str:
    """Everything kept of a conversation, replaced questions and answers too; media base64 by SHA-256."""
    messages = store.messages(info.id)
    wanted = {a.sha256 for m in messages for a in m.attachments if a.kind == "image"}
    wanted |= {f.sha256 for m in messages for a in m.attachments for f in a.frames}
    value: dict[str, Any] = {
        "conversation": asdict(info),
        "messages": [asdict(m) for m in messages],
        "media": {sha256: _base64(store, sha256) for sha256 in sorted(wanted)},
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _attachment_lines(store: Store, attachment: Attachment) -> list[str]:
    dropped = "" if attachment.shown else " (no longer shown to the model)"
    if attachment.kind == "image":
        return [f"![{_alt(attachment.name)}]({_data_uri(store, attachment.sha256, attachment.mime)}){dropped}"]
    seconds = f"{attachment.duration_seconds:.1f} s"
    lines = [
        f"Clip {without_images(attachment.name)}, {seconds}, {len(attachment.frames)} frames read with {attachment.decoder}{dropped}:",
        "",
    ]
    return lines + [
        f"{clock(f.timestamp_seconds)} ![frame]({_data_uri(store, f.sha256, 'image/png')})" for f in attachment.frames
    ]


def _alt(name: str) -> str:
    """A file name as the text of an image: a bracket in it would end the image."""
    return without_images(name.replace("[", "(").replace("]", ")"))


def _data_uri(store: Store, sha256: str, mime: str) -> str:
    return f"data:{mime};base64,{_base64(store, sha256)}"


def _base64(store: Store, sha256: str) -> str:
    try:
        return base64.b64encode(store.media.bytes(sha256)).decode()
    except StoreError:
        return ""  # the rest of the conversation is still worth exporting


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

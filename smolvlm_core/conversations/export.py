"""Exports a conversation as a self-contained Markdown or JSON file, including its images and frames."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from smolvlm_core.conversations.store import ConversationInfo, Store
from smolvlm_core.errors import StoreError
from smolvlm_core.markdown import safe_markdown
from smolvlm_core.prompt.messages import Attachment, active_turns
from smolvlm_core.prompt.template import clock
from smolvlm_core.text import escape_markdown
from smolvlm_core.times import length_text


def to_markdown(store: Store, info: ConversationInfo) -> str:
    """The visible conversation in order, with images and frames as data URIs."""
    lines = [
        f"# {escape_markdown(info.title)}",
        "",
        f"{info.kind.capitalize()} chat of {_day(info.created)}.",
        "",
    ]
    for question, answer in active_turns(store.messages(info.id)):
        lines += _question_lines(question.text)
        for attachment in question.attachments:
            lines += [*_attachment_lines(store, attachment), ""]
        if answer is not None:
            lines += [safe_markdown(answer.text) or "*No answer.*", ""]
            if answer.status != "complete":
                lines += [f"*{answer.status}* {escape_markdown(answer.error)}".rstrip(), ""]
            figures = [answer.model, *([answer.stats.summary()] if answer.stats else [])]
            lines += [f"<sub>{escape_markdown(' · '.join(figures))}</sub>", ""]
    return "\n".join(lines)


def _question_lines(text: str) -> list[str]:
    """The first line as a heading, the others below it: what a user typed or pasted is shown as it is."""
    first, *others = (escape_markdown(line) for line in text.splitlines() or [""])
    return [f"## {first}".rstrip(), "", "\\\n".join(others), ""]


def to_json(store: Store, info: ConversationInfo) -> str:
    """The whole record of a conversation, including replaced questions and answers. Media are base64, keyed by SHA-256."""
    messages = store.messages(info.id)
    media_keys = {a.sha256 for m in messages for a in m.attachments if a.kind == "image"}
    media_keys |= {f.sha256 for m in messages for a in m.attachments for f in a.frames}
    value: dict[str, Any] = {
        "conversation": asdict(info),
        "messages": [asdict(m) for m in messages],
        "media": {sha256: _base64(store, sha256) for sha256 in sorted(media_keys)},
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _attachment_lines(store: Store, attachment: Attachment) -> list[str]:
    hidden = "" if attachment.shown else " (no longer shown to the model)"
    if attachment.kind == "image":
        return [
            f"![{escape_markdown(attachment.name)}]({_data_uri(store, attachment.sha256, attachment.mime)}){hidden}"
        ]
    seconds = length_text(attachment.duration_seconds)
    lines = [
        f"Clip {escape_markdown(attachment.name)}, {seconds}, {len(attachment.frames)} frames read with "
        f"{escape_markdown(attachment.decoder)}{hidden}:",
        "",
    ]
    return lines + [
        f"{clock(f.timestamp_seconds)} ![frame]({_data_uri(store, f.sha256, 'image/png')})" for f in attachment.frames
    ]


def _data_uri(store: Store, sha256: str, mime: str) -> str:
    kind = mime if re.fullmatch(r"(image|video)/[\w.+-]+", mime) else "application/octet-stream"
    return f"data:{kind};base64,{_base64(store, sha256)}"


def _base64(store: Store, sha256: str) -> str:
    try:
        return base64.b64encode(store.media.bytes(sha256)).decode()
    except StoreError:
        return ""  # a missing file must not block the export of the rest


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

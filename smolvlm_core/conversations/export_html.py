"""Exports a conversation as one HTML file to read and share: it needs no other file, fetches nothing and runs nothing."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from smolvlm_core.conversations import export
from smolvlm_core.conversations.store import ConversationInfo, Store
from smolvlm_core.markdown import to_html as markdown_to_html
from smolvlm_core.prompt.messages import Attachment, Message, active_turns
from smolvlm_core.text import in_reading_order
from smolvlm_core.times import length_text, time_text

TEMPLATE = Path(__file__).with_name("export.html.j2")


def to_html(store: Store, info: ConversationInfo) -> str:
    """The chosen branch. How much other versions hold is said at the top."""
    messages = store.messages(info.id)
    page = _template().render(
        title=info.title,
        about=f"{info.kind.capitalize()} chat of {export.day_of(info.created)}",
        others=export.other_versions(messages),
        turns=[_turn(store, question, answer) for question, answer in active_turns(messages)],
    )
    return in_reading_order(str(page))


@cache
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text("utf-8"))


def _turn(store: Store, question: Message, answer: Message | None) -> dict[str, Any]:
    from markupsafe import Markup

    turn: dict[str, Any] = {"text": question.text, "attachments": [_attachment(store, a) for a in question.attachments]}
    if answer is not None:
        settings = asdict(answer.settings) if answer.settings else {}
        turn["answer"] = {
            "html": Markup(markdown_to_html(answer.text)),  # safe: all text of the model in it is escaped
            "status": "" if answer.status == "complete" else f"{answer.status.capitalize()}. {answer.error}".strip(),
            "figures": export.figures_of(answer),
            "settings": {name.replace("_", " "): value for name, value in settings.items() if value not in ("", None)},
            "prompt": answer.stats.prompt_fingerprint if answer.stats else "",
            "revision": answer.revision,
        }
    return turn


def _attachment(store: Store, attachment: Attachment) -> dict[str, Any]:
    if attachment.kind == "image":
        about = f"{attachment.name}, {attachment.width} × {attachment.height} px"
        pictures = [(export.picture_uri(store, attachment.sha256, attachment.mime), attachment.name, "")]
    else:
        count = len(attachment.frames)
        about = f"{attachment.name}: {count} frame{'s' if count > 1 else ''} of a clip of {length_text(attachment.duration_seconds)}"
        about += f", read with {attachment.decoder}" if attachment.decoder else ""
        pictures = [
            (
                export.picture_uri(store, frame.sha256, "image/png"),
                f"Frame at {time_text(frame.timestamp_seconds, 2)}",
                time_text(frame.timestamp_seconds, 2),
            )
            for frame in attachment.frames
        ]
    return {
        "about": about,
        "notes": attachment.notes,
        "shown": attachment.shown,
        "pictures": pictures,
        "is_clip": attachment.kind == "video",
    }

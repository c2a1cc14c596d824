"""What the model was given for a record, made again from its file. Does not know backends or pages."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from smolvlm_core import media
from smolvlm_core.batch.plan import Item
from smolvlm_core.batch.records import Record
from smolvlm_core.conversations.attachments import describe_clip
from smolvlm_core.conversations.unsaved import UnsavedMedia
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.video import take_frames


@dataclass(frozen=True, kw_only=True)
class Given:
    """`pictures`: the picture, or the frames of a clip, each with its time in seconds or its name. `size`: width and height in
    pixels that each has before it is reduced. `prompt`: the exact text, "" where it cannot be made. `changed`: the file is another
    one now."""

    pictures: tuple[tuple[float | str, Image.Image], ...]
    size: tuple[int, int]
    prompt: str
    changed: bool


def recall(record: Record, edge: int | None = None) -> Given:
    """Decode a record's picture or frames again, at most `edge` px large, or whole.

    Raises:
        LensError: the file is gone, or cannot be decoded.
    """
    item = Item.of_name(record.item, record.prompt)
    changed = item.stamp() != (record.size_bytes, record.modified_ns) and item.sha256() != record.sha256
    unsaved = UnsavedMedia()
    attachment = _attachment(item, record, unsaved)
    prompt = _prompt(record, attachment, unsaved)
    shown: list[tuple[float | str, str]] = [(ref.timestamp_seconds, ref.sha256) for ref in attachment.frames]
    shown = shown or [(attachment.name, attachment.sha256)]
    opened = ((mark, unsaved.open(sha256)) for mark, sha256 in shown)
    pictures = tuple((mark, media.thumbnail(image, edge) if edge else image) for mark, image in opened)
    return Given(pictures=pictures, size=(attachment.width, attachment.height), prompt=prompt, changed=changed)


def _attachment(item: Item, record: Record, unsaved: UnsavedMedia) -> Attachment:
    source, name = item.source(), (item.member or item.path.name).rsplit("/", 1)[-1]
    if record.kind != "video":
        picture = media.open_image(source, name) if isinstance(source, bytes) else media.open_image_file(source)
        return unsaved.add_picture(picture)
    sampled = take_frames(source, [frame["timestamp_seconds"] for frame in record.frames])
    span = record.sampling.get("range_seconds")
    attachment, _ = describe_clip(record.sha256, name, sampled, tuple(span) if span else None)
    unsaved.add_frames({ref.sha256: frame.image for ref, frame in zip(attachment.frames, sampled.frames)})
    return attachment


def _prompt(record: Record, attachment: Attachment, unsaved: UnsavedMedia) -> str:
    question = Message("user", record.prompt, (attachment,))
    system, video_prompt = record.settings.get("system_prompt", ""), record.sampling.get("video_prompt", "processor")
    try:
        return build_prompt([question], unsaved.open, system, video_prompt).text
    except LensError:
        return ""  # it was refused then too: the record's error says why

"""A chat request → one prompt: its messages, its pictures, and the frames of its clips. Blocking: call it on a thread.

Knows the request's form and media. Does not know backends or HTTP.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image

from smolvlm_core import media
from smolvlm_core.api.errors import invalid
from smolvlm_core.api.fetch import Fetcher
from smolvlm_core.api.schemas import (
    Address,
    ChatMessage,
    ChatRequest,
    ImagePart,
    Input,
    InputImage,
    InputVideo,
    Part,
    Text,
    VideoPart,
)
from smolvlm_core.api.uploads import Upload, Uploads
from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.conversations.clip_frames import errors_named
from smolvlm_core.conversations.unsaved import ClipSampling, UnsavedMedia
from smolvlm_core.errors import ContextTooSmall
from smolvlm_core.media import MAX_IMAGE_PIXELS
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.messages import Attachment, Message, Role
from smolvlm_core.video import SamplingCancelled

CLIP_CACHE_BYTES = 256 * 2**20
_DATA_URI = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
SampledFrames = tuple[Attachment, dict[str, Image.Image]]
FindUpload = Callable[[str], Upload]
SampleClip = Callable[[Path | bytes, str, str], Attachment]  # source, name, SHA-256 where it is known


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request asks. `attachments`: all pictures and clips, in order."""

    prompt: Prompt
    attachments: tuple[Attachment, ...]


class Reader:
    """Reads requests. Frames of clips that were sampled before are found again: clients send a clip with every turn."""

    def __init__(self, uploads: Uploads, fetcher: Fetcher) -> None:
        self._uploads, self._fetcher = uploads, fetcher
        self._clips: ByteCache[SampledFrames] = ByteCache(CLIP_CACHE_BYTES, _held_bytes)

    def read(self, request: ChatRequest, spec: ModelSpec, cancel: threading.Event, user: str = "") -> Asked:
        """Raises LensError.

        Args:
            spec: of the model that is asked; it has its own rule for the frames of a clip.
            user: whose uploads it may name.
        """
        sampling = sampling_of(request)
        _refuse_too_many(request, spec)
        given = UnsavedMedia(MAX_IMAGE_PIXELS)
        find = partial(self._uploads.find, owner=user)

        def clip(source: Path | bytes, name: str, sha256: str) -> Attachment:
            key = (media.sha256_of(source) if isinstance(source, bytes) else str(source), sampling, spec.key)

            def sample() -> SampledFrames:
                attachment = given.add_clip(
                    source,
                    name,
                    sampling,
                    model_fps=spec.video_fps,
                    model_max_frames=spec.video_max_frames,
                    cancel=cancel,
                )
                return attachment, {frame.sha256: given.open(frame.sha256) for frame in attachment.frames}

            with errors_named(name, source):
                attachment, images = self._clips.get(key, sample)
            given.add_frames(images)
            return replace(attachment, name=name, sha256=attachment.sha256 or sha256)

        systems, messages = _split(request.messages)
        turns = [self._message(message, given, clip, find, cancel) for message in messages]
        prompt = build_prompt(turns, given.open, "\n\n".join(systems), request.video_prompt or "processor")
        return Asked(prompt=prompt, attachments=tuple(a for turn in turns for a in turn.attachments))

    def _message(
        self, message: ChatMessage, given: UnsavedMedia, clip: SampleClip, find: FindUpload, cancel: threading.Event
    ) -> Message:
        role: Role = "assistant" if message.role == "assistant" else "user"
        parts = _parts(message)
        attachments = self._attachments(role, parts, given, clip, find, cancel)
        if _are_frames(parts):
            frames = tuple(replace(attachment, tiled=False) for attachment in attachments)
            return Message(role, "", frames, pieces=_pieces(parts))
        attachments = [replace(a, tiled=not _is_low(p)) for p, a in zip(_media(parts), attachments, strict=True)]
        return Message(role, "\n".join(part.text for part in parts if isinstance(part, Text)), tuple(attachments))

    def _attachments(
        self,
        role: Role,
        parts: list[Part],
        given: UnsavedMedia,
        clip: SampleClip,
        find: FindUpload,
        cancel: threading.Event,
    ) -> list[Attachment]:
        attachments: list[Attachment] = []
        for part in _media(parts):
            if cancel.is_set():
                raise SamplingCancelled
            if role == "assistant":
                raise invalid("An assistant's message can only have text.", "Put pictures into a user's message.")
            source, name, sha256 = self._source(part, len(attachments) + 1, find, cancel)
            if isinstance(part, VideoPart | InputVideo):
                attachments.append(clip(source, name, sha256))
            elif isinstance(source, bytes):
                attachments.append(given.add_image(source, name))
            else:
                with errors_named(name, source):
                    picture = media.open_image_file(source)
                attachments.append(replace(given.add_picture(picture), name=name))
        return attachments

    def _source(
        self, part: Part, number: int, find: FindUpload, cancel: threading.Event
    ) -> tuple[Path | bytes, str, str]:
        """(an uploaded file's path or bytes, its name, the SHA-256 of an uploaded file)."""
        name = f"{'clip' if isinstance(part, VideoPart | InputVideo) else 'picture'} {number}"
        url, value = _address(part)
        if url:
            return (_decoded(url, name) if _is_data(url) else self._fetcher.fetch(url, cancel)), name, ""
        if bool(value.data) == bool(value.file_id):
            raise invalid(f"{part.type} of {name} needs an address, or either data or file_id.")
        if value.data:
            return _decoded(value.data, name), name, ""
        upload = find(value.file_id)
        return upload.path, upload.name, upload.sha256


def _refuse_too_many(request: ChatRequest, spec: ModelSpec) -> None:
    """Before any picture is decoded. Raises ContextTooSmall: each takes at least one tile."""
    count = sum(len(_media(_parts(message))) for message in request.messages)
    if count * spec.geometry.tokens_per_tile >= spec.context_tokens:
        raise ContextTooSmall(
            f"{count} pictures and clips do not fit: {spec.title} has room for {spec.context_tokens} tokens.",
            "Send fewer of them.",
        )


def sampling_of(request: ChatRequest) -> ClipSampling:
    """Raises ApiError."""
    try:
        return ClipSampling(
            frames=request.num_frames,
            fps=request.fps,
            strategy=request.frame_strategy or "even",
            range_seconds=request.frame_range_seconds,
        )
    except ValueError as error:
        words = str(error).replace("frames is", "num_frames is").replace("frames and", "num_frames and")
        words = words.replace("range_seconds", "frame_range_seconds")
        raise invalid(f"{words}.", param=words.partition(" ")[0]) from error


def _split(messages: list[ChatMessage]) -> tuple[list[str], list[ChatMessage]]:
    """(system prompts, the conversation). Raises ApiError for a system prompt that comes later: the format has one, first."""
    count = next((i for i, m in enumerate(messages) if m.role not in ("system", "developer")), len(messages))
    if any(message.role in ("system", "developer") for message in messages[count:]):
        raise invalid("A system message comes after the conversation began.", "Put it first.", param="messages")
    systems = []
    for message in messages[:count]:
        parts = _parts(message)
        if not all(isinstance(part, Text) for part in parts):
            raise invalid("A system message can only have text.", "Put pictures into a user's message.")
        systems.append("\n".join(part.text for part in parts if isinstance(part, Text)))
    return systems, messages[count:]


def _parts(message: ChatMessage) -> list[Part]:
    if isinstance(message.content, str):
        return [Text(type="text", text=message.content)]
    return message.content or []


def _address(part: Part) -> tuple[str, Input]:
    """(the address of a picture or clip, or "", what else says where it is)."""
    if isinstance(part, InputVideo):
        return "", part.input_video
    if isinstance(part, InputImage):
        inner = part.input_image
        return part.image_url.strip(), Input(data=inner.data, file_id=inner.file_id or part.file_id)
    if isinstance(part, Text):
        return "", Input()
    found = part.image_url if isinstance(part, ImagePart) else part.video_url
    return (found if isinstance(found, str) else found.url).strip(), Input()


def _media(parts: list[Part]) -> list[Part]:
    return [part for part in parts if not isinstance(part, Text)]


def _is_low(part: Part) -> bool:
    return isinstance(part, ImagePart) and isinstance(part.image_url, Address) and part.image_url.detail == "low"


def _are_frames(parts: list[Part]) -> bool:
    """Whether pictures have places in the text, as this app sends the frames of a clip to a server: the text then stays in order."""
    pictures = _media(parts)
    return bool(pictures) and isinstance(parts[-1], Text) and all(map(_is_low, pictures))


def _pieces(parts: list[Part]) -> tuple[str, ...]:
    """The text before, between and after the pictures."""
    pieces = [""]
    for part in parts:
        if isinstance(part, Text):
            pieces[-1] += part.text
        else:
            pieces.append("")
    return tuple(pieces)


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _decoded(data: str, name: str) -> bytes:
    """The bytes of base64 or a data URI. Raises ApiError."""
    if (head := _DATA_URI.match(data)) is not None:
        if ";base64" not in head[0].lower():
            raise invalid(f"The data URI of {name} is not base64.", "Write it like data:image/png;base64,….")
        data = data[head.end() :]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"The base64 of {name} is damaged: {error}.", "Encode the whole file again.") from error


def _held_bytes(sampled: SampledFrames) -> int:
    return sum(media.decoded_bytes(image) for image in sampled[1].values())

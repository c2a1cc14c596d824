"""One item → one record. The same on this machine and on a worker of a cluster.

Preparing (read, decode, sample: no model) is apart from asking, so that it can be done while the model answers.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from smolvlm_core import media
from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.batch.plan import Item, Plan
from smolvlm_core.batch.records import Record, record_id
from smolvlm_core.conversations.unsaved import UnsavedMedia
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.text import valid_text
from smolvlm_core.video import is_clip


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An item that is ready to be asked; `prompt` is None where it is not, and `record` has the error."""

    record: Record
    prompt: Prompt | None


def prepare(item: Item, plan: Plan, backend: Backend, cancel: threading.Event) -> Prepared:
    """Read and decode an item. Never raises LensError: what went wrong is in the record."""
    record = Record(
        id=record_id(item.name, item.prompt, "", plan.fingerprint),
        item=valid_text(item.name),
        prompt=valid_text(item.prompt),
        settings=asdict(plan.settings),
        sampling={**asdict(plan.sampling), "video_prompt": plan.video_prompt},
        fingerprint=plan.fingerprint,
        model=backend.name,
    )
    given = UnsavedMedia()
    try:
        size, modified = item.stamp()
        sha256 = item.sha256()
        identity = record_id(item.name, item.prompt, sha256, plan.fingerprint)
        record = replace(record, id=identity, sha256=sha256, size_bytes=size, modified_ns=modified)
        attachment = _attachment(item, plan, backend, given, cancel)
        frames = [{"timestamp_seconds": f.timestamp_seconds, "frame_index": f.frame_index} for f in attachment.frames]
        record = replace(record, kind=attachment.kind, notes=list(attachment.notes), frames=frames)
        question = Message("user", item.prompt, (attachment,))
        prompt = build_prompt([question], given.open, plan.settings.system_prompt, plan.video_prompt)
    except LensError as error:
        return Prepared(record=replace(record, error=str(error), finished=time.time()), prompt=None)
    return Prepared(record=record, prompt=prompt)


def _attachment(item: Item, plan: Plan, backend: Backend, given: UnsavedMedia, cancel: threading.Event) -> Attachment:
    source, name = item.source(), (item.member or item.path.name).rsplit("/", 1)[-1]
    if not is_clip(item.head()):
        picture = media.open_image(source, name) if isinstance(source, bytes) else media.open_image_file(source)
        return given.add_picture(picture)
    spec = backend.spec
    return given.add_clip(
        source, name, plan.sampling, model_fps=spec.video_fps, model_max_frames=spec.video_max_frames, cancel=cancel
    )


def ask(prepared: Prepared, plan: Plan, backend: Backend, cancel: threading.Event) -> Record | None:
    """The finished record; None where `cancel` was set first. Never raises LensError."""
    if prepared.prompt is None:
        return None if cancel.is_set() else prepared.record  # the error may be that sampling was cancelled
    record, error = prepared.record, ""
    try:
        reply = collect(backend.generate(prepared.prompt, plan.settings, cancel))
    except LensError as problem:
        if cancel.is_set():
            return None
        return replace(record, error=str(problem), weights=backend.revision, finished=time.time())
    if reply.stats.stop_reason == "cancelled" or cancel.is_set():
        return None
    data: Any = None
    if plan.json_schema:
        data, error = _by_schema(reply.text, plan.json_schema)
    return replace(
        record,
        answer=reply.text,
        data=data,
        error=error,
        weights=backend.revision,
        stats=asdict(reply.stats),
        finished=time.time(),
    )


def _by_schema(text: str, schema: str) -> tuple[Any, str]:
    """(the answer as JSON, "") or (None, why it does not follow the schema)."""
    import jsonschema

    try:
        value = json.loads(text)
        jsonschema.validate(value, json.loads(schema))
    except (ValueError, RecursionError) as error:
        return None, f"The answer is not JSON: {error}."
    except jsonschema.ValidationError as error:
        return None, f"The answer does not follow the schema: {error.message}."
    return value, ""

"""The content of an export, from the timelines of a data folder."""

from __future__ import annotations

from smolvlm_core.errors import DeletedError
from smolvlm_core.timeline.export.content import Content
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.records import Timeline


def content_of(timelines: Timelines, timeline: Timeline) -> Content:
    """As it is stored now. Raises StoreError."""
    current = timelines.find(timeline.identity)
    if current is None:
        raise DeletedError("This timeline was deleted.", "Choose another one.")
    return Content(
        timeline=current,
        segments=tuple(timelines.segments(current.identity)),
        clip=timelines.path_of(current),
        thumbnail=timelines.store.thumbnail,
        picture=timelines.picture if current.kind == "live" else None,
    )

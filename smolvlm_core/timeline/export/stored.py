"""The content of an export, from the timelines of a data folder."""

from __future__ import annotations

from collections.abc import Iterator

from smolvlm_core.errors import DeletedError
from smolvlm_core.fields import FieldError
from smolvlm_core.timeline.export.content import Content
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.moments.curve import Curve
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.timeline.summary.records import KIND as SUMMARY
from smolvlm_core.timeline.summary.records import read_summary


def content_of(timelines: Timelines, timeline: Timeline) -> Content:
    """As it is stored now. Raises StoreError."""
    current = timelines.find(timeline.identity)
    if current is None:
        raise DeletedError("This timeline was deleted.", "Choose another one.")
    found = (read_summary(d.value) for d in timelines.documents(current.identity, SUMMARY))
    return Content(
        timeline=current,
        segments=tuple(timelines.segments(current.identity)),
        clip=timelines.path_of(current),
        thumbnail=timelines.store.thumbnail,
        picture=timelines.picture if current.kind == "live" else None,
        summaries=tuple(summary for summary in found if summary is not None),
        curves=tuple(_curves(timelines, current.clip.sha256)),
    )


def _curves(timelines: Timelines, sha256: str) -> Iterator[Curve]:
    for document in timelines.documents(sha256, "curve") if sha256 else ():
        try:
            yield Curve.from_row(document.value)
        except FieldError:
            continue

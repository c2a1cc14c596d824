"""What a live session leaves on disk: a timeline of the kind "live", with the frames as pictures and the alerts as documents.

Knows the store of timelines. Does not know sources or backends.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict

from PIL import Image

from smolvlm_core import media
from smolvlm_core.errors import DeletedError, StoreError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.live.records import AlertEvent, Entry, LiveAnswer, LiveRequest
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.timeline.asking import THUMBNAIL_EDGE
from smolvlm_core.timeline.records import Answer, Clip, Request, Timeline
from smolvlm_core.timeline.store import KeptFrame, TimelineStore

ALERT = "alert"  # the kind of a document
MAX_ENTRIES = 20_000  # of one session
MAX_BYTES = 512 * 2**20  # of the frames of one session
ROOM_BYTES = 8 * 2**20


class LiveLog:
    """Of one session.

    `full`: why no more can be stored, as a sentence; "" where more can. `refuse_if_full`: raises StoreError where the user has no room
    for so many bytes. It is asked after each `ROOM_BYTES`, for so many more: it may read a whole folder.
    """

    def __init__(
        self,
        store: TimelineStore,
        request: LiveRequest,
        name: str,
        sha256: str,
        model: str,
        refuse_if_full: Callable[[int], None] = lambda more_bytes: None,
    ) -> None:
        self.identity = uuid.uuid4().hex[:24]
        self.stored_bytes, self.entries = 0, 0
        self._store, self._model = store, model
        self._refuse_if_full, self._checked_bytes, self._no_room = refuse_if_full, 0, ""
        first, *others = request.questions
        kept = Request(
            entry=request.entry,
            precision=request.precision,
            prompt=first,
            columns=tuple(others),
            settings=request.settings,
        )
        self._timeline = Timeline(
            identity=self.identity,
            kind="live",
            clip=Clip(sha256=sha256, name=name),
            request=kept,
            created=time.time(),
            model=model,
            columns=dict(enumerate(request.questions)),
        )

    @property
    def full(self) -> str:
        if self.entries >= MAX_ENTRIES:
            return f"The session has {MAX_ENTRIES:,} frames with answers, which is the most."
        if self.stored_bytes >= MAX_BYTES:
            return f"The frames of the session take {MAX_BYTES // 2**20} MiB, which is the most."
        return self._no_room

    def begin(self) -> None:
        """Raises StoreError."""
        self._refuse_if_full(ROOM_BYTES)
        self._store.add(self._timeline)

    def add(self, entry: Entry, number: int, jpeg: bytes, image: Image.Image, until_seconds: float) -> int:
        """Keep a frame and its answers. `number`: of the frame in its source. Returns the number of its segment. Raises StoreError."""
        segment = self._store.add_segment(self.identity, entry.seconds, max(entry.seconds, until_seconds))
        thumbnail = media.jpeg_bytes(media.thumbnail(image, THUMBNAIL_EDGE))
        ref = FrameRef(entry.seconds, number, entry.sha256)
        self._store.save_frames(segment, [KeptFrame(ref=ref, thumbnail=thumbnail, picture=jpeg)])
        for column, answer in enumerate(entry.answers):
            self._store.save_answer(segment, column, self._answer(answer))
        self.entries += 1
        self.stored_bytes += len(jpeg) + len(thumbnail)
        if self.stored_bytes - self._checked_bytes >= ROOM_BYTES:
            self._check_room()
        return segment

    def _check_room(self) -> None:
        self._checked_bytes = self.stored_bytes
        try:
            self._refuse_if_full(ROOM_BYTES)
        except StoreError as error:
            self._no_room = f"No more frames can be stored: {error}"

    def add_event(self, event: AlertEvent) -> None:
        """Raises StoreError."""
        name = f"{event.when:.3f} {event.question}"
        self._store.keep(self.identity, ALERT, name, asdict(event))

    def _answer(self, answer: LiveAnswer) -> Answer:
        return Answer(
            text=answer_text(answer),
            error=answer.error,
            model=self._model,
            prompt=answer.prompt,
            stats=answer.stats,
            finished=time.time(),
        )


def answer_text(answer: LiveAnswer) -> str:
    """The model's words; for an alert, with the probability of yes."""
    return answer.text if answer.yes is None else f"{answer.text.rstrip('.')} ({answer.yes:.0%} yes)"


def events_of(store: TimelineStore, identity: str) -> list[AlertEvent]:
    """The alerts of a session, the newest first. Those that cannot be read are left out."""
    found: list[AlertEvent] = []
    for document in store.documents(identity, ALERT):
        try:
            found.append(read_object(AlertEvent, document.value))
        except FieldError:
            continue
    return sorted(found, key=lambda event: event.when, reverse=True)


def picture_of(store: TimelineStore, segment: int) -> Image.Image:
    """The frame of an entry, as the model was given it. Raises DeletedError."""
    stored = store.picture(segment, 0)
    if stored is None:
        raise DeletedError("This frame was deleted.", "Reload the page.")
    return Image.open(io.BytesIO(stored))

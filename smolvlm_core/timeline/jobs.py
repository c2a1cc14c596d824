"""The timelines of a data folder: begin, go on, find, edit, search.

Knows the registry of backends, jobs and stored clips. Does not know pages.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from smolvlm_core import owners
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.registry import Registry
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import DeletedError, LensError
from smolvlm_core.fields import read_object
from smolvlm_core.prompt.build import check_text
from smolvlm_core.timeline.asking import Asked
from smolvlm_core.timeline.clips import gone, is_same
from smolvlm_core.timeline.downloads import Downloads
from smolvlm_core.timeline.records import CAPTION, MAX_COLUMNS, Clip, Cut, Hit, Request, Segment, Timeline
from smolvlm_core.timeline.run import Run
from smolvlm_core.timeline.segments import Estimate, Piece, estimate
from smolvlm_core.timeline.store import Document, TimelineStore
from smolvlm_core.video import ClipFacts, take_frames
from smolvlm_core.work.job import Jobs

PREFIX = "timeline "
OWNER = "process"  # kind and name of the document that says which process makes a timeline
_SHA256 = re.compile("[0-9a-f]{64}")


class Timelines:
    """One timeline runs at a time. Used from any thread.

    `conversations`: where the clips of the app are stored; asked for at the first use.
    """

    def __init__(self, folder: Path, jobs: Jobs, registry: Registry, conversations: Callable[[], Store]) -> None:
        self.store = TimelineStore(folder)
        self.downloads = Downloads(folder)
        self._folder, self._jobs, self._registry, self._conversations = folder, jobs, registry, conversations
        self._starting = threading.Lock()
        self._runs: dict[str, Run] = {}

    # What there is

    def all(self) -> list[Timeline]:
        """The newest first."""
        return self.store.all()

    def find(self, identity: str) -> Timeline | None:
        """None where there is none, or it cannot be read."""
        return self.store.find(identity)

    def of_clip(self, sha256: str) -> list[Timeline]:
        """The newest first. Live sessions that played the clip are not among them."""
        return [timeline for timeline in self.store.all(sha256) if timeline.kind == "clip"]

    def segments(self, identity: str) -> list[Segment]:
        """All of them, by time; see `records.leaves`."""
        return self.store.segments(identity)

    def search(self, text: str, identity: str | None = None) -> list[Hit]:
        """Where all the words are found in captions, columns, edits and notes, the best first."""
        return self.store.search(text, identity)

    def path_of(self, timeline: Timeline) -> Path | None:
        """The clip's file; None where it is not there any more."""
        clip = timeline.clip
        if not clip.sha256:
            return None
        stored = self._conversations().media.path(clip.sha256)
        if stored.is_file():
            return stored
        return Path(clip.path) if clip.path and is_same(Path(clip.path), clip) else None

    def picture(self, segment: int, position: int) -> Image.Image:
        """A frame as the model was shown it: the stored one, or decoded again from the clip.

        Raises:
            DeletedError: there is no such frame any more.
            MediaError: the clip is not there any more, or it is another file now.
        """
        if (stored := self.store.picture(segment, position)) is not None:
            return Image.open(io.BytesIO(stored))
        timeline = self.store.timeline_of(segment)
        found = [s for s in self.segments(timeline.identity) if s.identity == segment] if timeline is not None else []
        if timeline is None or not found or position >= len(found[0].frames):
            raise DeletedError("This frame was deleted.", "Reload the page.")
        path = self.path_of(timeline)
        if path is None:
            raise gone(timeline)
        return take_frames(path, [found[0].frames[position].timestamp_seconds]).frames[0].image

    def unsent_media(self) -> frozenset[str]:
        """The clips that timelines need: the store of conversations keeps them."""
        return self.store.clips()

    # Running

    @property
    def running(self) -> Run | None:
        return next((run for run in tuple(self._runs.values()) if run.is_running), None)

    def run_of(self, timeline: Timeline) -> Run | None:
        """Its last run in this process."""
        return self._runs.get(timeline.identity)

    def estimate(self, facts: ClipFacts, cut: Cut) -> Estimate:
        """What it will cost at most."""
        return estimate(facts.duration_seconds, cut)

    def begin(self, clip: Clip, request: Request, on_asked: Callable[[Asked], None] = lambda asked: None) -> Timeline:
        """Start a timeline, or go on with the one of the same clip, model and request. What goes wrong later is the run's `problem`.

        Raises:
            LensError: another one runs, or it cannot be asked like that.
        """
        with self._starting:
            self._refuse_while_running()
            check(request)
            backend = self._registry.make(request.entry, request.precision)
            identity = _identity(clip, request, backend)
            columns = {CAPTION: request.prompt} | dict(enumerate(dict.fromkeys(request.columns), start=1))
            self.store.add(
                Timeline(
                    identity=identity,
                    kind="clip",
                    clip=clip,
                    request=request,
                    created=time.time(),
                    model=backend.name,
                    columns=columns,
                )
            )
            known = self._found(identity).columns.values()
            for question in [question for question in columns.values() if question not in known]:
                self.store.add_column(identity, question)  # it was there already, with other questions
            timeline = self._found(identity)
            self._start(timeline, backend, on_asked)
            return timeline

    def go_on(self, timeline: Timeline, on_asked: Callable[[Asked], None] = lambda asked: None) -> None:
        """Ask what is not answered yet, and what failed. Raises LensError, as `begin`, and where the model is another one now."""
        with self._starting:
            self._refuse_while_running()
            timeline = self._found(timeline.identity)
            request = timeline.request
            backend = self._registry.make(request.entry, request.precision)
            if _identity(timeline.clip, request, backend) != timeline.identity:
                raise LensError("The model has changed since this timeline began.", "Start a new one.")
            self._start(timeline, backend, on_asked)

    def is_complete(self, timeline: Timeline) -> bool:
        """Whether every question about every segment is answered."""
        segments = self.segments(timeline.identity)
        answered = all(
            column in s.answers and not s.answers[column].error for s in segments for column in timeline.columns
        )
        return bool(segments) and answered

    def _start(self, timeline: Timeline, backend: Backend, on_asked: Callable[[Asked], None]) -> None:
        source = self.path_of(timeline)
        if source is None:
            raise gone(timeline)
        self._refuse_while_elsewhere(timeline)
        self.store.keep(timeline.identity, OWNER, OWNER, owners.this_process())
        run = Run(
            timeline=timeline,
            source=source,
            backend=backend,
            store=self.store,
            pieces=self._pieces_of(timeline.request.segments_of),
            on_asked=on_asked,
        )
        run.job = self._jobs.start(f"{PREFIX}{self._folder} {timeline.identity}", run.work)
        self._runs[timeline.identity] = run

    def _refuse_while_elsewhere(self, timeline: Timeline) -> None:
        """Each process has its own runs: two of the same timeline would do all work twice."""
        for found in self.store.documents(timeline.identity, OWNER):
            if found.value != owners.this_process() and owners.is_alive(str(found.value)):
                raise LensError(
                    f"The timeline of {timeline.title} is being made by another process of this machine.",
                    "Wait until it ends, or stop it there.",
                )

    def _pieces_of(self, identity: str) -> list[Piece] | None:
        """How another timeline is cut; None for none."""
        if not identity:
            return None
        segments = sorted(self.segments(identity), key=lambda segment: segment.identity)
        if not segments:
            raise DeletedError("The timeline to compare with was deleted.", "Start a new one.")
        index = {segment.identity: number for number, segment in enumerate(segments)}
        return [
            Piece(s.start_seconds, s.end_seconds, None if s.parent is None else index.get(s.parent)) for s in segments
        ]

    def _refuse_while_running(self) -> None:
        if (running := self.running) is not None:
            raise LensError(
                f"The timeline of {running.timeline.title} is being made.", "Wait until it ends, or stop it."
            )

    def _found(self, identity: str) -> Timeline:
        timeline = self.store.find(identity)
        if timeline is None:
            raise DeletedError("This timeline was deleted.", "Start a new one.")
        return timeline

    # What people change

    def edit(self, segment: int, column: int, text: str | None) -> None:
        """Keep what a person made of an answer beside it; None takes it back. Raises StoreError."""
        self.store.edit(segment, column, text)

    def set_note(self, segment: int, text: str) -> None:
        """Raises StoreError."""
        self.store.set_note(segment, text.strip())

    def add_column(self, identity: str, question: str) -> int:
        """Add a question, which `go_on` asks. Returns its number. Raises LensError."""
        check_text(question)
        if not question.strip():
            raise LensError("The question is empty.", "Type a question.")
        return self.store.add_column(identity, question.strip())

    def remove_column(self, identity: str, number: int) -> None:
        """Remove a question with its answers. The description stays. Raises StoreError."""
        if number == CAPTION:
            raise LensError("The description cannot be removed.", "Delete the timeline instead.")
        self.store.remove_column(identity, number)

    def delete(self, identity: str) -> None:
        """Delete a timeline, and its clip where nothing else uses it. Raises LensError while it runs."""
        with self._starting:
            timeline = self.store.find(identity)
            run = self._runs.get(identity)
            if run is not None and run.is_running:
                raise LensError("This timeline is being made.", "Stop it first.")
            self.store.delete(identity)
        for kind in ("export", "cut"):
            self.downloads.forget(f"{identity}-{kind}")
        if timeline is not None and timeline.clip.sha256:
            self._conversations().discard({timeline.clip.sha256})

    # What is kept with a clip or a timeline

    def keep(self, owner: str, kind: str, name: str, value: Any) -> None:
        """See `TimelineStore.keep`. Raises DeletedError where the owner is a timeline that was deleted."""
        if not _SHA256.fullmatch(owner):
            self._found(owner)
        self.store.keep(owner, kind, name, value)

    def documents(self, owner: str, kind: str) -> list[Document]:
        """The newest first."""
        return self.store.documents(owner, kind)

    def forget(self, owner: str, kind: str, name: str) -> None:
        self.store.forget(owner, kind, name)


def check(request: Request) -> None:
    """Raises LensError where it cannot be asked."""
    for question in (request.prompt, *request.columns):
        check_text(question)
        if not question.strip():
            raise LensError("A question is empty.", "Type a question, or leave it out.")
    if len(request.columns) >= MAX_COLUMNS:
        raise LensError(f"There are {len(request.columns)} questions; {MAX_COLUMNS - 1} are allowed.", "Remove some.")


def _identity(clip: Clip, request: Request, backend: Backend) -> str:
    """Names a timeline: of this clip, by these weights, asked and cut like this. Columns can change. A file name."""
    same = read_object(Request, json.loads(json.dumps(asdict(request))))  # numbers as they are once stored
    parts = {"clip": clip.sha256, "model": backend.identity(), **asdict(same), "columns": ()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:24]

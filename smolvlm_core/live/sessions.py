"""The live sessions of a data folder: begin, stop, and what earlier ones left. One runs at a time.

Knows the registry of backends, jobs and the store of timelines. Does not know pages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from smolvlm_core.backends.registry import Registry
from smolvlm_core.errors import LensError
from smolvlm_core.live import log
from smolvlm_core.live.log import LiveLog
from smolvlm_core.live.records import AlertEvent, LiveRequest
from smolvlm_core.live.session import LiveSession
from smolvlm_core.live.sources import Source
from smolvlm_core.prompt.build import check_text
from smolvlm_core.timeline.records import Segment, Timeline
from smolvlm_core.timeline.store import TimelineStore
from smolvlm_core.work.job import Jobs

PREFIX = "live "


class LiveSessions:
    """Used from any thread."""

    def __init__(
        self,
        folder: Path,
        jobs: Jobs,
        registry: Registry,
        timelines: TimelineStore,
        refuse_if_full: Callable[[int], None] = lambda more_bytes: None,
    ) -> None:
        """`refuse_if_full`: see `LiveLog`."""
        self._refuse_if_full = refuse_if_full
        self._folder, self._jobs, self._registry, self.timelines = folder, jobs, registry, timelines
        self._starting = threading.Lock()
        self.current: LiveSession | None = None  # the last one of this process

    @property
    def running(self) -> LiveSession | None:
        session = self.current
        return session if session is not None and session.is_running else None

    def begin(self, request: LiveRequest, source: Source) -> LiveSession:
        """Start a session. What goes wrong later is its `problem`, or why it is `over`.

        Raises:
            LensError: another one runs, or it cannot be asked like that.
        """
        check(request)
        with self._starting:
            if self.running is not None:
                raise LensError("A live session is running.", "Stop it first.")
            backend = self._registry.make(request.entry, request.precision)
            name, sha256 = source.name, source.sha256
            kept = LiveLog(self.timelines, request, name, sha256, backend.name, self._refuse_if_full)
            session = LiveSession(request, source, backend, kept)
            session.job = self._jobs.start(f"{PREFIX}{self._folder}", session.work)
            self.current = session
            return session

    # Earlier ones

    def past(self) -> list[Timeline]:
        """The newest first, with the one that runs."""
        return [timeline for timeline in self.timelines.all() if timeline.kind == "live"]

    def entries(self, identity: str, count: int) -> list[Segment]:
        """The newest first."""
        found = self.timelines.segments(identity, count)
        return sorted(found, key=lambda segment: segment.identity, reverse=True)

    def events(self, identity: str) -> list[AlertEvent]:
        """The alerts of a session, the newest first."""
        return log.events_of(self.timelines, identity)

    def delete(self, identity: str) -> None:
        """Delete a session with its frames and alerts. Raises LensError while it runs, and StoreError."""
        running = self.running
        if running is not None and running.identity == identity:
            raise LensError("This session is running.", "Stop it first.")
        self.timelines.delete(identity)
        if self.current is not None and self.current.identity == identity:
            self.current = None


def check(request: LiveRequest) -> None:
    """Raises LensError where it cannot be asked."""
    if not request.questions:
        raise LensError("There is nothing to ask.", "Type a question, or what you want to be told about.")
    for question in request.questions:
        check_text(question)
        if not question.strip():
            raise LensError("The question of an alert is empty.", "Type a question with the answer yes or no.")
    if len({alert.question for alert in request.alerts}) < len(request.alerts):
        raise LensError("Two alerts have the same question.", "Remove one of them.")

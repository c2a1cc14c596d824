"""One live session: takes the newest frame, asks, decides on alerts, keeps. Bounded in time, memory and disk.

Knows a source, a backend and a log. Does not know pages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import replace

from smolvlm_core import media
from smolvlm_core.backends.base import Backend
from smolvlm_core.errors import LensError
from smolvlm_core.live.alerts import Trigger
from smolvlm_core.live.asking import Asker, Given
from smolvlm_core.live.frames import LiveFrame, Look, NewestFrame, changed_share, look_of
from smolvlm_core.live.log import LiveLog
from smolvlm_core.live.records import EDGES, AlertEvent, Entry, LiveAnswer, LiveRequest
from smolvlm_core.live.sources import Source
from smolvlm_core.work.job import Job
from smolvlm_core.work.report import Report

KEPT_ENTRIES, KEPT_EVENTS = 200, 200  # the newest ones in memory; the log has all
IDLE_MINUTES = 10  # without a frame: then the session ends by itself
SILENT_SECONDS = 3.0  # without a frame: then the page says so
MOST_FAILURES = 8  # one after another
MAX_PAUSE_SECONDS = 30.0  # after a failure


class LiveSession:
    """Runs as a job. Read from any thread.

    Attributes:
        entries: the newest frames that were asked about, the newest first. `events`: alerts, the newest first.
        frames: offered by the source; `skipped` of them while the model was busy, `unchanged` since the picture was too much alike,
            `asked` about, `damaged` ones.
        doing: what is done now, as words. `partial`: the question that is being answered, and the beginning of its answer.
        over: why it ended, as a sentence; "" while it runs. `problem`: what goes wrong now; "" for nothing.
    """

    def __init__(self, request: LiveRequest, source: Source, backend: Backend, log: LiveLog) -> None:
        self.request, self.source, self.backend, self.log = request, source, backend, log
        self.began_at, self._began = time.time(), time.monotonic()
        self.newest = NewestFrame()
        self._entries: deque[Entry] = deque(maxlen=KEPT_ENTRIES)
        self._events: deque[AlertEvent] = deque(maxlen=KEPT_EVENTS)
        self.asked = self.unchanged = self.damaged = self.event_count = 0
        self.latest_changed: float | None = None
        self.doing, self.partial = "Starting", ("", "")
        self.over = self.problem = ""
        self.job: Job | None = None
        self._triggers = [Trigger(alert) for alert in request.alerts]
        self._look: Look | None = None
        self._source_began: float | None = None
        self._skipped_before = self._unchanged_before = self._failures = 0

    # What a page reads

    @property
    def identity(self) -> str:
        return self.log.identity

    @property
    def is_running(self) -> bool:
        return self.job is not None and not self.job.done

    @property
    def is_stopping(self) -> bool:
        return self.job is not None and self.job.cancel.is_set()

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries)

    @property
    def events(self) -> list[AlertEvent]:
        return list(self._events)

    @property
    def skipped(self) -> int:
        return self.newest.replaced

    @property
    def frames(self) -> int:
        return self.newest.offered

    @property
    def silent_seconds(self) -> float:
        """Since the last frame, or since the source began; 0 before that."""
        since = self.newest.last_seen or self._source_began
        return 0.0 if since is None else time.monotonic() - since

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._began

    def wait_for_answer(self) -> bool:
        """Whether it has answered once; False where it ended before that."""
        while self.is_running and not self.asked:
            time.sleep(0.2)
        return self.asked > 0

    def stop(self) -> None:
        if self.job is not None:
            self.job.cancel.set()

    # The work

    def work(self, report: Report, cancel: threading.Event) -> None:
        """Until it is stopped or ends by itself.

        Raises:
            LensError: the model cannot be loaded, or the session cannot be stored at all.
        """
        self.log.begin()
        source_ends = threading.Event()
        asker = Asker(self.backend, self.request, cancel, self._watch)
        reader = threading.Thread(
            target=self._run_source,
            args=(source_ends,),
            name="live-source",
            daemon=True,
        )
        try:
            asker.prepare()  # a clip does not play while the model loads
            self._source_began = time.monotonic()
            reader.start()
            while not (why := self._why_over(cancel)):
                if (frame := self.newest.take(0.25)) is not None:
                    self._look_at(frame, asker, cancel)
                else:
                    self.doing = "Waiting for a frame"
            self.over = why
        except BaseException as error:
            if isinstance(error, LensError) and cancel.is_set():
                self.over = self._why_over(cancel)
                return
            self.over = "The session failed."
            raise
        finally:
            source_ends.set()
            self.newest.end(self.over)
            self.partial = ("", "")

    def _why_over(self, cancel: threading.Event) -> str:
        if cancel.is_set():
            return "Stopped."
        if self.newest.ended and self.newest.is_empty:
            return self.newest.ended
        if self.seconds > 60 * self.request.minutes:
            return f"It ended after {self.request.minutes} minutes, as chosen."
        if self.silent_seconds > 60 * IDLE_MINUTES:
            return f"It ended after {IDLE_MINUTES} minutes without a frame."
        if self._failures >= MOST_FAILURES:
            return f"It ended after {MOST_FAILURES} failures one after another."
        return self.log.full

    def _run_source(self, ends: threading.Event) -> None:
        """Whatever goes wrong, the session is told that no more frames come."""
        try:
            self.source.run(self.newest, EDGES[self.request.detail], ends)
        except Exception as error:
            self.newest.end(f"{self.source.name} cannot be read any further: {error}")
            logging.getLogger(__name__).exception("A live source failed.")

    def _watch(self, question: str, text: str) -> None:
        if question:
            self.partial = (question, text)
        else:
            self.doing = text

    def _look_at(self, frame: LiveFrame, asker: Asker, cancel: threading.Event) -> None:
        """Ask about a frame, unless it is damaged or too much like the last one that was asked about."""
        try:
            jpeg = frame.jpeg()
            picture = media.open_image(jpeg, "The frame")
        except LensError as error:
            self.damaged += 1
            self.problem = str(error)
            return
        look = look_of(picture.image)
        changed = None if self._look is None else changed_share(self._look, look)
        self.latest_changed = changed
        if self.request.change is not None and changed is not None and changed < self.request.change:
            self.unchanged += 1
            self.doing = "Watching for a change"
            return
        self.doing = "Asking"
        answers = asker.ask(Given(image=picture.image, sha256=picture.sha256, detail=self.request.detail))
        self.partial = ("", "")
        if not answers or cancel.is_set():
            return
        self._look = look
        entry = Entry(
            segment=None,
            seconds=frame.seconds,
            when=time.time() - (time.monotonic() - frame.seen),
            latency_seconds=time.monotonic() - frame.seen,
            skipped=self.skipped - self._skipped_before,
            unchanged=self.unchanged - self._unchanged_before,
            changed=changed,
            sha256=picture.sha256,
            width=picture.width,
            height=picture.height,
            answers=answers,
        )
        self._skipped_before, self._unchanged_before = self.skipped, self.unchanged
        self._keep(self._with_events(entry), frame, jpeg, picture)
        self._pause_after(answers[-1].error, cancel)

    def _with_events(self, entry: Entry) -> Entry:
        answers = entry.answers[len(self.request.questions) - len(self._triggers) :]
        events = tuple(
            trigger.alert.question
            for trigger, answer in zip(self._triggers, answers)
            if answer.yes is not None and trigger.is_event(answer.yes, entry.seconds)
        )
        return replace(entry, events=events)

    def _keep(self, entry: Entry, frame: LiveFrame, jpeg: bytes, picture: media.Picture) -> None:
        """In the log and in memory. What cannot be stored stays in memory, and the page says so."""
        self.asked += 1
        try:
            until = entry.seconds + entry.latency_seconds
            entry = replace(entry, segment=self.log.add(entry, frame.number, jpeg, picture.image, until))
            self.problem = ""
        except LensError as error:
            self.problem = f"The last frame could not be stored: {error}"
        self._entries.appendleft(entry)
        for answer in entry.answers:
            if answer.question in entry.events and answer.yes is not None:
                self._tell(entry, answer)

    def _tell(self, entry: Entry, answer: LiveAnswer) -> None:
        event = AlertEvent(
            question=answer.question,
            yes=answer.yes or 0.0,
            seconds=entry.seconds,
            when=entry.when,
            sha256=entry.sha256,
            segment=entry.segment,
            width=entry.width,
            height=entry.height,
        )
        self._events.appendleft(event)
        self.event_count += 1
        try:
            self.log.add_event(event)
        except LensError as error:
            self.problem = f"The last alert could not be stored: {error}"

    def _pause_after(self, error: str, cancel: threading.Event) -> None:
        """A backend that fails is not asked again and again without a pause."""
        if not error:
            self._failures = 0
            return
        self._failures += 1
        self.problem = error
        self.doing = "Pausing after a failure"
        cancel.wait(min(2.0 ** (self._failures - 1), MAX_PAUSE_SECONDS))

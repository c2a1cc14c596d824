"""Generates answers in the background and saves their text as it arrives.

A page can follow an answer, rerun or close, and reconnect to it later. Knows the store and backends. Does not know pages.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from smolvlm_core.backends.base import Backend
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import DeletedError, LensError, StoreError
from smolvlm_core.prompt.build import Prompt, build_prompt, check_text
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Progress, Stats
from smolvlm_core.prompt.messages import AnswerStatus, history_before
from smolvlm_core.text import valid_text
from smolvlm_core.work.job import Job
from smolvlm_core.work.report import Report

logger = logging.getLogger(__name__)
SAVE_SECONDS = 0.3
RETRY_SECONDS = 1.0
MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class Snapshot:
    """The state of an answer at one moment."""

    text: str
    progress: Progress | None
    done: bool


class Answer:
    """One answer in progress, generated on its own thread."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        prompt: Prompt,
        settings: GenerationSettings,
        answer_id: int,
        conversation_id: str,
        on_end: Callable[[Answer], None],
    ) -> None:
        self.id, self.conversation_id = answer_id, conversation_id
        self._store, self._backend, self._prompt, self._settings = store, backend, prompt, settings
        self._on_end = on_end
        self._changed = threading.Condition()
        self._snapshot = Snapshot("", Progress("Starting"), False)
        self._stats: Stats | None = None
        self._saved, self._raw = 0.0, ""
        self._job = Job(f"answer {answer_id}", self._run)

    def start(self) -> None:
        self._job.start()

    def stop(self) -> None:
        """Ask it to end. The text so far stays."""
        self._job.cancel.set()

    def wait_until_complete(self) -> bool:
        """Wait until the answer ends, then return `is_complete`."""
        self.wait()
        return self.is_complete

    def wait(self, timeout_seconds: float | None = None) -> None:
        self._job.wait(timeout_seconds)

    @property
    def is_complete(self) -> bool:
        """True if the answer ended by itself: it was not stopped and did not fail."""
        return self._stats is not None and self._stats.stop_reason not in ("cancelled", "failed")

    def follow(self, every_seconds: float = 0.05) -> Iterator[Snapshot]:
        """Yield snapshots as the text grows, at most one every `every_seconds`. The last one is the finished answer."""
        shown: Snapshot | None = None
        while True:
            with self._changed:
                if self._snapshot is shown:
                    self._changed.wait(0.5)
                shown = self._snapshot
            yield shown
            if shown.done:
                return
            time.sleep(every_seconds)

    def _run(self, report: Report, cancel: threading.Event) -> None:
        status: AnswerStatus = "failed"
        error = "The answer ended unexpectedly. See the log for details."
        try:
            for event in self._backend.generate(self._prompt, self._settings, cancel):
                self._take(event)
            reason = self._stats.stop_reason if self._stats else "failed"
            status, error = ("stopped" if reason == "cancelled" else "complete"), ""
        except LensError as problem:
            error = str(problem)
        finally:
            try:
                self._save_final(status, error)
            finally:
                self._on_end(self)
                self._show(Snapshot(self._snapshot.text, None, True))

    def _save_final(self, status: AnswerStatus, error: str) -> None:
        """Save the finished answer. While saving fails, for example on a full disk, report it and retry."""
        while True:
            try:
                self._save(status, error)
                return
            except DeletedError as problem:
                logger.warning("answer %s is not saved: %s", self.id, problem)
                return
            except StoreError as problem:
                logger.warning("answer %s is not saved yet: %s", self.id, problem)
                text = f"The answer is complete but not saved yet. {problem} Retrying"
                self._show(Snapshot(self._snapshot.text, Progress(text), False))
            time.sleep(RETRY_SECONDS)

    def _take(self, event: Delta | Progress | Stats) -> None:
        if isinstance(event, Stats):
            self._stats = event
        elif isinstance(event, Progress):
            self._show(Snapshot(self._snapshot.text, event, False))
        else:
            self._raw += event.text  # half of a pair of surrogates may come with the next piece
            self._show(Snapshot(valid_text(self._raw), None, False))
            if time.monotonic() - self._saved > SAVE_SECONDS:
                with contextlib.suppress(StoreError):  # the next piece and the final save retry
                    self._save("running", "")

    def _save(self, status: AnswerStatus, error: str) -> None:
        self._saved = time.monotonic()
        stats = self._stats
        self._store.save_answer(
            self.id, self._snapshot.text, status, stats=stats, revision=self._backend.revision, error=error
        )

    def _show(self, snapshot: Snapshot) -> None:
        with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()


class Answers:
    """The answers in progress in this process, one per conversation, and at most `most` together. Thread-safe."""

    def __init__(self, store: Store, most: Callable[[], int] = lambda: MOST_AT_ONCE) -> None:
        self._store, self._most = store, most
        self._running: dict[str, Answer] = {}
        self._lock = threading.Lock()

    def refuse_early(self, conversation_id: str | None, text: str, settings: GenerationSettings) -> None:
        """Raises LensError if a question would be refused. Call it before storing the question."""
        check_text(text)
        check_text(settings.system_prompt)
        if conversation_id is not None and self.running(conversation_id) is not None:
            raise _busy()
        if len(self._running) >= self._most():
            raise _too_many(self._most())

    def start(self, backend: Backend, conversation_id: str, question_id: int, settings: GenerationSettings) -> Answer:
        """Answer a stored question in the background.

        Raises:
            LensError: the prompt cannot be built, or this conversation already has an answer in progress.
        """
        history = history_before(self._store.messages(conversation_id), question_id)
        prompt = build_prompt(history, self._store.media.picture, settings.system_prompt)
        with self._lock:
            if conversation_id in self._running:
                raise _busy()
            if len(self._running) >= self._most():
                raise _too_many(self._most())
            answer_id = self._store.begin_answer(question_id, backend.name, settings)
            answer = Answer(self._store, backend, prompt, settings, answer_id, conversation_id, self._forget)
            self._running[conversation_id] = answer
        answer.start()
        return answer

    def running(self, conversation_id: str) -> Answer | None:
        with self._lock:
            return self._running.get(conversation_id)

    def _forget(self, answer: Answer) -> None:
        with self._lock:
            if self._running.get(answer.conversation_id) is answer:
                del self._running[answer.conversation_id]


def _busy() -> LensError:
    return LensError("This conversation already has an answer in progress.", "Stop it, or wait until it finishes.")


def _too_many(most: int) -> LensError:
    return LensError(f"{most} of your questions are being answered.", "Wait until one finishes, or stop it.")

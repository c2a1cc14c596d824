"""Runs an answer in the background and keeps what was said as it comes.

A page may follow an answer, be redrawn or go away, and find it again. Knows chats, the store and backends. Does not
know who watches.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from smolvlm_core.backends.base import Backend, Delta, Progress
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.prompt.build import Prompt, build_prompt, check_text
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import Status, history_before

logger = logging.getLogger(__name__)
SAVE_SECONDS = 0.3
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Snapshot:
    """An answer as it stands."""

    text: str
    progress: Progress | None
    done: bool


class Answer:
    """One answer being made."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        prompt: Prompt,
        settings: GenerationSettings,
        answer_id: int,
        conversation_id: str,
    ) -> None:
        self.id, self.conversation_id = answer_id, conversation_id
        self._store, self._backend, self._prompt, self._settings = store, backend, prompt, settings
        self._cancel = threading.Event()
        self._changed = threading.Condition()
        self._snapshot = Snapshot("", Progress("Starting"), False)
        self._stats: Stats | None = None
        self._saved = 0.0
        self._thread = threading.Thread(target=self._run, name=f"answer-{answer_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; what was said so far is kept."""
        self._cancel.set()

    def wait(self, timeout_seconds: float | None = None) -> None:
        self._thread.join(timeout_seconds)

    @property
    def is_whole(self) -> bool:
        """Whether it has come to its end: not failed, not stopped, not still running."""
        return self._stats is not None and self._stats.stop_reason not in ("cancelled", "failed")

    def follow(self, every_seconds: float = 0.05) -> Iterator[Snapshot]:
        """The answer as it grows, at most once every so often, the finished one last."""
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

    def _run(self) -> None:
        status: Status = "failed"
        error = "The answer ended unexpectedly; the log has the details."
        try:
            for event in self._backend.generate(self._prompt, self._settings, self._cancel):
                self._take(event)
            reason = self._stats.stop_reason if self._stats else "failed"
            status, error = ("stopped" if reason == "cancelled" else "complete"), ""
        except LensError as problem:
            error = str(problem)
        finally:
            try:
                self._save_at_last(status, error)
            finally:
                _forget(self)
                self._show(Snapshot(self._snapshot.text, None, True))

    def _save_at_last(self, status: Status, error: str) -> None:
        """Save the finished answer. While that fails (a full disk), keep it in memory, say so, and try again."""
        while True:
            try:
                self._save(status, error)
                return
            except StoreError as problem:
                logger.warning("answer %s is not saved yet: %s", self.id, problem)
                text = f"The answer is complete but not saved yet. {problem} Trying again"
                self._show(Snapshot(self._snapshot.text, Progress(text), False))
            time.sleep(RETRY_SECONDS)

    def _take(self, event: Delta | Progress | Stats) -> None:
        if isinstance(event, Stats):
            self._stats = event
        elif isinstance(event, Progress):
            self._show(Snapshot(self._snapshot.text, event, False))
        else:
            self._show(Snapshot(self._snapshot.text + event.text, None, False))
            if time.monotonic() - self._saved > SAVE_SECONDS:
                with contextlib.suppress(StoreError):  # tried again with the next piece, and at the end
                    self._save("running", "")

    def _save(self, status: Status, error: str) -> None:
        self._saved = time.monotonic()
        stats = asdict(self._stats) if self._stats else None
        self._store.save_answer(
            self.id, self._snapshot.text, status, stats=stats, revision=self._backend.revision, error=error
        )

    def _show(self, snapshot: Snapshot) -> None:
        with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()


_running: dict[str, Answer] = {}
_lock = threading.Lock()


def refuse_early(conversation_id: str | None, text: str, settings: GenerationSettings) -> None:
    """Raise LensError where a question would be refused, before anything of it is kept."""
    check_text(text)
    check_text(settings.system_prompt)
    if conversation_id is not None and running_answer(conversation_id) is not None:
        raise LensError("An answer is being written in this conversation already.", "Stop it or wait for its end.")


def start_answer(
    store: Store, backend: Backend, conversation_id: str, question_id: int, settings: GenerationSettings
) -> Answer:
    """Answer a question of the store in the background.

    Raises:
        LensError: the prompt cannot be built, or an answer is being made in this conversation already.
    """
    prompt = build_prompt(
        history_before(store.messages(conversation_id), question_id), store.picture, settings.system_prompt
    )
    with _lock:
        if conversation_id in _running:
            raise LensError("An answer is being written in this conversation already.", "Stop it or wait for its end.")
        answer_id = store.begin_answer(question_id, backend.name, asdict(settings))
        answer = _running[conversation_id] = Answer(store, backend, prompt, settings, answer_id, conversation_id)
    answer.start()
    return answer


def running_answer(conversation_id: str) -> Answer | None:
    with _lock:
        return _running.get(conversation_id)


def _forget(answer: Answer) -> None:
    with _lock:
        if _running.get(answer.conversation_id) is answer:
            del _running[answer.conversation_id]

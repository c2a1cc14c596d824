"""One frame → its answers. The questions are asked one after another, so that what was read of the picture is used again.

Knows a backend and prompts. Does not know where frames come from, nor what becomes of answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from smolvlm_core.backends.base import Backend, Reply
from smolvlm_core.backends.ready import load
from smolvlm_core.errors import LensError
from smolvlm_core.live.records import Detail, LiveAnswer, LiveRequest
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import MAX_TOP_LOGPROBS, Delta, GenerationSettings, Stats, TokenLogprob
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.timeline.yes import read_yes
from smolvlm_core.work.events import child

Watch = Callable[
    [str, str], None
]  # the question, and what is known so far: a progress text or the beginning of its answer
YES_TOKENS = 4  # enough for "Yes." where a backend counts an opening token


@dataclass(frozen=True, kw_only=True)
class Given:
    """A frame as the model is given it: decoded from the JPEG with this SHA-256."""

    image: Image.Image
    sha256: str
    detail: Detail

    @property
    def attachment(self) -> Attachment:
        return Attachment(
            kind="image",
            sha256=self.sha256,
            name="Live frame",
            mime="image/jpeg",
            width=self.image.width,
            height=self.image.height,
            tiled=self.detail == "full",
        )


class Asker:
    """Asks the questions of a request about one frame after another."""

    def __init__(self, backend: Backend, request: LiveRequest, cancel: threading.Event, watch: Watch) -> None:
        self.backend, self.request, self._cancel, self._watch = backend, request, cancel, watch
        self._logprobs: bool | None = None  # whether the backend has them; None before it was asked
        first = len(request.questions) - len(request.alerts)
        self._is_alert = [number >= first for number in range(len(request.questions))]

    def prepare(self) -> None:
        """Load the model, where there is something to load. Raises LensError."""
        with child(self._cancel) as own:
            load(self.backend, self.request.settings, own, lambda progress: self._watch("", progress.text))

    def ask(self, given: Given) -> tuple[LiveAnswer, ...]:
        """The answers to all questions; fewer where the session was cancelled. After a failure, the questions that follow are not
        asked. Never raises LensError: what went wrong is in the last answer."""
        answers: list[LiveAnswer] = []
        for question, is_alert in zip(self.request.questions, self._is_alert):
            try:
                answer = self._ask(given, question, is_alert)
            except LensError as error:
                answer = LiveAnswer(question=question, error=str(error))
            if self._cancel.is_set():
                break
            answers.append(answer)
            if answer.error:
                break
        return tuple(answers)

    def _ask(self, given: Given, question: str, is_alert: bool) -> LiveAnswer:
        """Raises LensError."""
        settings = self.request.settings
        if is_alert:
            if self._logprobs is None:
                self._logprobs = self.backend.capabilities().logprobs
            top = MAX_TOP_LOGPROBS if self._logprobs else None
            settings = replace(settings, max_new_tokens=YES_TOKENS, temperature=0.0, top_logprobs=top)
        prompt = build_prompt(
            [Message("user", question, (given.attachment,))], lambda _: given.image, settings.system_prompt
        )
        reply = self._read(question, prompt, settings)
        yes = read_yes(reply).probability if is_alert else None
        return LiveAnswer(question=question, text=reply.text.strip(), yes=yes, prompt=prompt.text, stats=reply.stats)

    def _read(self, question: str, prompt: Prompt, settings: GenerationSettings) -> Reply:
        """Read an answer to its end, and let others watch how it comes. Raises LensError."""
        text, stats, logprobs = "", Stats("failed"), list[TokenLogprob]()
        with child(self._cancel) as own:  # a backend that fails may set its event: nobody stopped the session
            for event in self.backend.generate(prompt, settings, own):
                if isinstance(event, Delta):
                    text += event.text
                    logprobs += event.logprobs
                    self._watch(question, text)
                elif isinstance(event, Stats):
                    stats = event
                else:
                    self._watch("", event.text)
        return Reply(text=text, stats=stats, logprobs=tuple(logprobs))

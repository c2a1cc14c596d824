"""Answers with Ollama, by its own API and client package.

Ollama applies the template of the model's Modelfile. Pictures go in a list beside a message's text; `[img]` in the text says
where each stands (ollama/server/prompt.go, 2026), so that frames keep their places between their times.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import httpx

from smolvlm_core.backends.base import Capabilities, Delta, Event, Progress
from smolvlm_core.backends.remote.openai import Tally, picture_bytes
from smolvlm_core.backends.remote.stream import Connection, hang_up_on
from smolvlm_core.backends.remote.stream import worded as http_worded
from smolvlm_core.errors import BackendError, ContextTooSmall, LensError, NoVision, PromptError
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.geometry import VisionGeometry, estimate_tokens
from smolvlm_core.prompt.template import IMAGE

DEFAULT_URL = "http://127.0.0.1:11434"
# What Ollama counts a picture as when it decides which earlier messages to leave out, whatever it really takes
# (ollama/server/prompt.go, imageNumTokens). The context must hold by that count too, or pictures go in secret.
COUNTED_PER_PICTURE = 768
LEAST_CONTEXT, STEP = 4096, 1024
SILENCE_SECONDS = 600


class OllamaBackend:
    """A model that an Ollama server has. Nothing is sent before it is asked."""

    def __init__(self, model: str, url: str = DEFAULT_URL, name: str = "") -> None:
        self.model, self.url = model, url.rstrip("/").removesuffix("/v1")
        self.name = name or f"{model} · Ollama"
        self.revision = model
        self.load_seconds: float | None = None  # Ollama tells it with an answer only
        self._believes = True
        self._context = LEAST_CONTEXT  # a smaller one than before would have Ollama load the model again

    def unbelieving(self) -> Self:
        """See `SelfDescribed`."""
        other = copy.copy(self)
        other._believes = False
        return other

    def capabilities(self) -> Capabilities:
        """Read from the server. Raises BackendError where it is not there or has no such model."""
        shown = self.show()
        told = shown.capabilities  # an older Ollama tells nothing
        sees = not self._believes or told is None or "vision" in told
        return Capabilities(sees, sees, True, _context_of(shown.modelinfo or {}))

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        known = self.capabilities()
        if prompt.slots and not known.images:
            raise NoVision(
                f"Ollama says that {self.model} has no vision: it was imported without its projector.",
                "Import it again with two FROM lines, the text model's and the projector's: see docs/ollama.md.",
            )
        context = self._context_for(prompt, settings, known.context_tokens)
        return self._stream(prompt, settings, context, cancel)

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Startable`: a chat without messages has Ollama load the model (its API's documentation, "Load a model")."""
        context = self._context_for(prompt, settings, self.capabilities().context_tokens)
        return self._stream(Prompt((), ()), settings, context, cancel)

    def _context_for(self, prompt: Prompt, settings: GenerationSettings, most: int) -> int:
        self._context = max(self._context, context_for(prompt, settings, most, geometry_of(self.model)))
        return min(self._context, most) if most else self._context

    def close(self) -> None:
        pass

    def _stream(
        self, prompt: Prompt, settings: GenerationSettings, context: int, cancel: threading.Event
    ) -> Iterator[Event]:
        tally = Tally(prompt.fingerprint)
        connection, done = Connection(), threading.Event()
        threading.Thread(target=hang_up_on, args=(cancel, done, connection), daemon=True).start()
        try:
            yield Progress("Sending the pictures" if prompt.slots else "Waiting for Ollama")
            yield from self._answer(prompt, settings, context, tally, connection, cancel)
        except Exception:
            yield tally.stats("failed")
            raise
        finally:
            done.set()
        yield tally.stats("cancelled" if cancel.is_set() else tally.reason)

    def _answer(
        self,
        prompt: Prompt,
        settings: GenerationSettings,
        context: int,
        tally: Tally,
        connection: Connection,
        cancel: threading.Event,
    ) -> Iterator[Delta]:
        with _worded(self.url, self.model, cancel):
            parts = self._client(connection).chat(
                self.model, messages(prompt), stream=True, options=options(settings, context)
            )
            for part in parts:
                if cancel.is_set():
                    return
                if text := part.message.content:
                    yield from tally.said(text)
                if part.done:
                    count(part, tally)

    def show(self) -> Any:
        """What Ollama tells of the model (ollama.ShowResponse). Raises BackendError."""
        with _worded(self.url, self.model):
            return self._client().show(self.model)

    def _client(self, connection: Connection | None = None) -> Any:
        import ollama

        def watch(request: httpx.Request) -> None:
            if connection is not None:
                request.extensions["trace"] = connection.noticed

        timeout = httpx.Timeout(SILENCE_SECONDS if connection else 10, connect=10)
        with _worded(self.url, self.model):
            return ollama.Client(self.url, timeout=timeout, event_hooks={"request": [watch]}, trust_env=False)


def models(url: str = DEFAULT_URL) -> list[str]:
    """Names of what the server has. Raises BackendError."""
    import ollama

    with _worded(url, ""):
        found = ollama.Client(url, timeout=5, trust_env=False).list()
    return [m.model for m in found.models if m.model]


# --- the request: pure but for pixels --------------------------------------------------------------------------------


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Ollama's messages. Raises PromptError where the user's own text holds its mark for a picture."""
    slots = iter(prompt.slots)
    out = []
    for turn in prompt.turns:
        if "[img]" in turn.content:
            raise PromptError("Your text contains [img], which Ollama takes for a picture.", "Write it differently.")
        images = [picture_bytes(next(slots)) for _ in range(turn.content.count(IMAGE))]
        content = turn.content.replace(IMAGE, "[img]")
        out.append({"role": turn.role, "content": content, **({"images": images} if images else {})})
    return out


def options(settings: GenerationSettings, context_tokens: int) -> dict[str, Any]:
    """Ollama's own defaults (top-k 40, a repetition penalty of 1.1) are switched off."""
    return {
        "num_ctx": context_tokens,
        "num_predict": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": 0,
        "repeat_penalty": settings.repetition_penalty,
        "repeat_last_n": -1,
        "seed": settings.seed % 2**31,
    }


def geometry_of(model: str) -> VisionGeometry:
    """How a model of that name cuts pictures: as the SmolVLM2 of that size; of no known size, as the one that takes most."""
    sizes = {spec.key.split("-")[1].lower(): spec.geometry for spec in catalog.PUBLISHED}
    return next((cut for size, cut in sizes.items() if size in model.lower()), catalog.PUBLISHED[0].geometry)


def context_for(prompt: Prompt, settings: GenerationSettings, most: int, geometry: VisionGeometry) -> int:
    """A context that holds the prompt and an answer: by Ollama's count of a picture, and by what pictures take, frames
    too, which are cut like pictures there. Raises ContextTooSmall where the model's does not."""
    taken = sum(estimate_tokens(Prompt(prompt.turns, ()), geometry))
    for slot in prompt.slots:
        tokens, marks = estimate_tokens(Prompt((), (replace(slot, tiled=True),)), geometry)
        taken += max(COUNTED_PER_PICTURE, tokens + marks)
    needed = taken + settings.max_new_tokens
    if most and needed > most:
        raise ContextTooSmall(
            f"The conversation takes up to {needed} tokens with its {len(prompt.slots)} pictures and the answer; the model has "
            f"room for {most}. Ollama would leave out pictures without a word.",
            "Show fewer pictures or frames, or start a new conversation.",
        )
    wanted = max(LEAST_CONTEXT, math.ceil(needed / STEP) * STEP)
    return min(wanted, most) if most else wanted


# --- the answer ------------------------------------------------------------------------------------------------------


def count(part: Any, tally: Tally) -> None:
    """The last part has the figures; durations in nanoseconds."""
    tally.reason = "length" if part.done_reason == "length" else "end"
    tally.usage = {"prompt_tokens": part.prompt_eval_count, "completion_tokens": part.eval_count}
    if part.eval_duration and part.eval_count:
        tally.timings = {"predicted_per_second": part.eval_count / (part.eval_duration / 1e9)}


@contextlib.contextmanager
def _worded(url: str, model: str, cancel: threading.Event | None = None) -> Iterator[None]:
    """Raises BackendError for what goes wrong between the client and the server; once cancelled, nothing."""
    import ollama

    try:
        yield
    except (
        ollama.ResponseError,
        httpx.TransportError,
        httpx.InvalidURL,
        ConnectionError,
        ValueError,
        TypeError,
    ) as error:
        if cancel is None or not cancel.is_set():
            raise worded(error, url, model) from error


def worded(error: Exception, url: str, model: str) -> LensError:
    """Ollama's errors in words a user can act on."""
    text = str(getattr(error, "error", "") or error).strip()
    if isinstance(error, ValueError | TypeError | httpx.InvalidURL):  # an address or answer the client cannot read
        return BackendError(
            f"What answers at {url} is not Ollama.", f"Correct the address: Ollama's own is {DEFAULT_URL}."
        )
    if isinstance(error, httpx.TransportError | ConnectionError):
        return BackendError(f"Ollama does not answer at {url}.", "Start it (`ollama serve`), or correct the address.")
    if getattr(error, "status_code", 0) == 404 or "not found" in text:
        return BackendError(
            f"Ollama has no model {model!r}.", f"`ollama pull {model}`, or `ollama list` for what it has."
        )
    if "memory" in text:
        return BackendError(
            f"Ollama: {text}", "Choose a smaller model, or show fewer pictures: the context grows with them."
        )
    return http_worded(text)


def _context_of(info: dict[str, Any]) -> int:
    """The model's longest context; 0 where it is not told."""
    return next((int(value) for name, value in info.items() if name.endswith(".context_length")), 0)

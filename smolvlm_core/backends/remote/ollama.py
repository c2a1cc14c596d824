"""Answers with Ollama, by its own API and client package.

Ollama applies the template of the model's Modelfile. Pictures go in a list beside a message's text; `[img]` in the text says
where each stands (ollama/server/prompt.go, 2026), so that frames keep their places between their times.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from smolvlm_core.backends.base import Backend, Capabilities, Cause, Entry, Status
from smolvlm_core.backends.gguf_causes import heavy_quantization
from smolvlm_core.backends.remote.chat_api import Tally, stopped
from smolvlm_core.backends.remote.estimates import ESTIMATES, estimated_spec
from smolvlm_core.backends.remote.faults import ServerGone
from smolvlm_core.backends.remote.following import Cancelled
from smolvlm_core.backends.remote.http import device_of
from smolvlm_core.backends.remote.ollama_api import (
    DEFAULT_URL,
    LEAST_CONTEXT,
    context_for,
    count,
    from_ollama,
    geometry_of,
    longest_context,
    messages,
    options,
)
from smolvlm_core.backends.remote.openai import clips_cut_like_pictures
from smolvlm_core.backends.remote.timeouts import TimedEntry, Timeouts
from smolvlm_core.errors import LensError, NoVision
from smolvlm_core.llamacpp.gguf import HEAVY
from smolvlm_core.llamacpp.modelfile import ollama_template_findings
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress
from smolvlm_core.work.pool import Pool


class OllamaBackend(Backend):
    """A model that an Ollama server has. Nothing is sent before it is asked."""

    kind = "Ollama"
    verdict_expires = True
    note = ESTIMATES

    def __init__(
        self,
        model: str,
        url: str = DEFAULT_URL,
        name: str = "",
        *,
        spec: ModelSpec | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self.model, self.url = model, url.rstrip("/").removesuffix("/v1")
        self.name = name or f"{model} · Ollama"
        self.spec = spec or estimated_spec(model, f"ollama:{model} {self.url}", self.name, 0)
        self._uses_self_report = True
        self._context = LEAST_CONTEXT  # a smaller one than before would have Ollama load the model again

    def identity(self) -> str:
        return f"{self.url} {self.model} {self.name}"

    @property
    def revision(self) -> str:
        return self.model

    @property
    def device(self) -> str:
        return device_of(self.url)

    @property
    def reads_text(self) -> bool:
        return catalog.BUNDLED not in self.name.lower()

    def status(self) -> Status:
        return self.timeouts.status

    def without_self_report(self) -> Self:
        other = copy.copy(self)
        other._uses_self_report = False
        return other

    def capabilities(self) -> Capabilities:
        """Read from the server. Raises BackendError where it is not there or has no such model."""
        return self._capabilities(None)

    def _capabilities(self, cancel: threading.Event | None) -> Capabilities:
        shown = self.show(cancel)
        told = shown.capabilities  # an older Ollama tells nothing
        sees = not self._uses_self_report or told is None or "vision" in told
        context = longest_context(shown.modelinfo or {})
        return Capabilities(images=sees, video=sees, streaming=True, context_tokens=context, json_schema=True)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        try:
            known = self._capabilities(cancel)
        except Cancelled:
            return stopped(prompt)
        if prompt.slots and not known.images:
            raise NoVision(
                f"Ollama says that {self.model} has no vision: it was imported without its projector.",
                "Import it again with two FROM lines, the text model's and the projector's: see docs/ollama.md.",
            )
        context = self._context_for(prompt, settings, known.context_tokens)
        return self._stream(prompt, settings, context, cancel)

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """A chat without messages makes Ollama load the model (its API's documentation, "Load a model")."""
        try:
            most = self._capabilities(cancel).context_tokens
        except Cancelled:
            return stopped(prompt)
        return self._stream(Prompt((), ()), settings, self._context_for(prompt, settings, most), cancel)

    def _context_for(self, prompt: Prompt, settings: GenerationSettings, most: int) -> int:
        self._context = max(self._context, context_for(prompt, settings, most, geometry_of(self.model)))
        return min(self._context, most) if most else self._context

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        if unseen == ("clips",):
            yield clips_cut_like_pictures()
        elif not unseen:
            yield from self._causes()

    def _causes(self) -> Iterator[Cause]:
        shown = self.show()
        again = f"`python -m smolvlm_core lint TEXT.gguf --write-modelfile Modelfile && ollama create {self.model} -f Modelfile`"
        if shown.capabilities is not None and "vision" not in shown.capabilities:
            yield Cause("Ollama lists no vision: the model was imported without its projector.", again)
        if "smolvlm" in self.model.lower():  # other models have their own templates
            for finding in ollama_template_findings(shown.template or ""):
                yield Cause(f"{finding.what}.", again)
        quantization = shown.details.quantization_level if shown.details else None
        if quantization in HEAVY:
            yield heavy_quantization(f"the model ({quantization})")

    def _stream(
        self, prompt: Prompt, settings: GenerationSettings, context: int, cancel: threading.Event
    ) -> Iterator[Event]:
        tally = Tally(prompt.fingerprint)
        try:
            yield Progress("Sending the pictures" if prompt.slots else "Waiting for Ollama")
            yield from self._answer(prompt, settings, context, tally, cancel)
        except Cancelled:
            tally.reason = "cancelled"
        except Exception:
            yield tally.stats("failed")
            raise
        yield tally.stats("cancelled" if cancel.is_set() else tally.reason)

    def _answer(
        self, prompt: Prompt, settings: GenerationSettings, context: int, tally: Tally, cancel: threading.Event
    ) -> Iterator[Delta]:
        def ask(client: Any) -> Iterator[Any]:
            return client.chat(  # type: ignore[no-any-return]
                self.model,
                messages(prompt),
                stream=True,
                format=json.loads(settings.json_schema) if settings.json_schema else None,
                options=options(settings, context),
            )

        done = False
        for part in from_ollama(self.url, self.model, ask, self.timeouts, cancel, streams=True):
            yield from tally.add_text(part.message.content)
            if part.done:
                done = True
                count(part, tally)
        if not done:
            raise ServerGone("Ollama stopped in the middle of the answer.", "The text so far is saved. Ask again.")

    def show(self, cancel: threading.Event | None = None) -> Any:
        """What Ollama tells of the model (ollama.ShowResponse). Raises BackendError; Cancelled where `cancel` is set."""
        ask = lambda client: iter([client.show(self.model)])  # noqa: E731
        (shown,) = from_ollama(self.url, self.model, ask, self.timeouts.of_probes, cancel)
        return shown


def models(url: str = DEFAULT_URL, timeouts: Timeouts | None = None) -> list[str]:
    """Names of what the server has. Raises BackendError."""
    ask = lambda client: iter([client.list()])  # noqa: E731
    (found,) = from_ollama(url, "", ask, (timeouts or Timeouts()).of_probes)
    return [m.model for m in found.models if m.model]


@dataclass(frozen=True, kw_only=True)
class OllamaEntry(TimedEntry):
    """A model of an Ollama server."""

    kind: ClassVar[str] = "ollama"

    model: str
    url: str = DEFAULT_URL
    context_tokens: int = 0

    @property
    def label(self) -> str:
        return self.title

    def make(self, pool: Pool, precision: str = "") -> OllamaBackend:
        spec = estimated_spec(self.model, self.key, self.title, self.context_tokens)
        return OllamaBackend(self.model, self.url, self.title, spec=spec, timeouts=self.timeouts)

    @classmethod
    def of_model(cls, model: str, url: str = DEFAULT_URL, timeouts: Timeouts | None = None) -> OllamaEntry:
        """Asks Ollama what the model is. Raises BackendError."""
        waits = timeouts or Timeouts()
        backend = OllamaBackend(model, url, timeouts=waits)
        context = backend.capabilities().context_tokens
        key = f"ollama:{model} {url}"
        return cls(
            key=key, title=backend.name, added=True, model=model, url=url, context_tokens=context, **asdict(waits)
        )

    @classmethod
    def discover(cls) -> Iterable[Entry]:
        """SmolVLM models of an Ollama that runs on this machine."""
        try:
            names = [name for name in models(DEFAULT_URL) if "smolvlm" in name.lower()]
        except LensError:
            return []  # Ollama does not run
        return [cls(key=f"ollama:{name} {DEFAULT_URL}", title=f"{name} · Ollama", model=name) for name in names]

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        return cls.of_model(name.removeprefix("ollama:")) if name.startswith("ollama:") else None

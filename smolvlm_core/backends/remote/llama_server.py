"""Answers by a llama-server that someone else started, by its address, with the exact prompt.

How it cuts pictures and how many tokens they take is its own business: counts are estimates.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from smolvlm_core.backends.base import Capabilities, Cause, Status
from smolvlm_core.backends.cold import HasCaches
from smolvlm_core.backends.gguf_causes import clips_have_overviews
from smolvlm_core.backends.remote.chat_api import Tally, stopped
from smolvlm_core.backends.remote.estimates import ESTIMATES
from smolvlm_core.backends.remote.following import Cancelled
from smolvlm_core.backends.remote.http import device_of, no_vision
from smolvlm_core.backends.remote.llama_causes import causes_in_properties
from smolvlm_core.backends.remote.llama_completion import complete, server_properties
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import table, whole, words
from smolvlm_core.models.catalog import BUNDLED, ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings


class LlamaServerBackend(HasCaches):
    """A running llama-server."""

    kind = "llama-server"
    verdict_expires = True
    note = ESTIMATES

    def __init__(
        self, spec: ModelSpec, url: str, api_key: str = "", name: str = "", *, timeouts: Timeouts | None = None
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self.spec, self.url, self.api_key = spec, url.rstrip("/").removesuffix("/v1"), api_key
        self.name = name or f"llama-server at {self.url.split('//', 1)[-1]}"
        self._revision = ""

    def identity(self) -> str:
        return f"{self.url}  {self.name}"

    @property
    def revision(self) -> str:
        return self._revision

    @property
    def device(self) -> str:
        return device_of(self.url)

    @property
    def reads_text(self) -> bool:
        return BUNDLED not in f"{self.name} {self.revision}".lower()

    def capabilities(self) -> Capabilities:
        props = server_properties(self.url, self.api_key, self.timeouts)
        sees = bool(props["modalities"].get("vision"))
        context = whole(table(props.get("default_generation_settings")).get("n_ctx")) or self.spec.context_tokens
        return Capabilities(
            images=sees, video=sees, streaming=True, context_tokens=context, logprobs=True, json_schema=True
        )

    def status(self) -> Status:
        return self.timeouts.status

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        try:
            props = server_properties(self.url, self.api_key, self.timeouts, cancel)
        except Cancelled:
            return stopped(prompt)
        if prompt.slots and not props["modalities"].get("vision"):
            raise no_vision(self.name)
        self._revision = f"{words(props.get('model_path'))}, llama.cpp {words(props.get('build_info'))}"
        return self._stream(prompt, settings, cancel)

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        if unseen == ("clips",):
            yield clips_have_overviews()
        elif not unseen:
            yield from causes_in_properties(server_properties(self.url, self.api_key, self.timeouts))

    def _stream(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        tally = Tally(prompt.fingerprint)
        try:
            yield from complete(
                self.url,
                prompt,
                settings,
                self.spec.geometry,
                cancel,
                tally,
                self.api_key,
                self.timeouts,
                cold=self._cold,
            )
        except Cancelled:
            tally.reason = "cancelled"
        except Exception:
            yield tally.stats("failed")
            raise
        yield tally.stats(tally.reason)

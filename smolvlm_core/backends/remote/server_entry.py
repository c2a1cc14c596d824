"""A server by its address: which backend it gets depends on what answers there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.backends.remote.estimates import estimated_spec
from smolvlm_core.backends.remote.http import normal_url
from smolvlm_core.backends.remote.llama_completion import server_properties
from smolvlm_core.backends.remote.llama_server import LlamaServerBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.remote.timeouts import TimedEntry, Timeouts
from smolvlm_core.errors import BackendError
from smolvlm_core.work.pool import Pool


@dataclass(frozen=True, kw_only=True)
class ServerEntry(TimedEntry):
    """A server by its address. `is_llama_server`: it takes the exact prompt, not only a chat."""

    kind: ClassVar[str] = "url"

    url: str
    model: str = ""
    api_key: str = ""
    context_tokens: int = 0
    is_llama_server: bool = False

    @property
    def label(self) -> str:
        return f"{self.title} · {'llama-server' if self.is_llama_server else 'server'}"

    def make(self, pool: Pool, precision: str = "") -> Backend:
        spec = estimated_spec(self.model, self.key, self.title, self.context_tokens)
        if self.is_llama_server:
            return LlamaServerBackend(spec, self.url, self.api_key, self.title, timeouts=self.timeouts)
        return OpenAIBackend(self.url, self.model, self.api_key, self.title, spec=spec, timeouts=self.timeouts)

    @classmethod
    def of_url(cls, url: str, model: str = "", api_key: str = "", timeouts: Timeouts | None = None) -> ServerEntry:
        """Asks the server what it is. Raises BackendError."""
        whole, waits = normal_url(url), timeouts or Timeouts()
        try:
            is_llama_server = bool(server_properties(whole.removesuffix("/v1"), api_key, waits).get("media_marker"))
        except BackendError:
            is_llama_server = False
        server = OpenAIBackend(whole, model, api_key, timeouts=waits)
        context = server.capabilities().context_tokens  # a wrong address or key fails here
        return cls(
            key=f"url:{whole} {model}".strip(),
            title=f"{model or ('llama-server' if is_llama_server else 'server')} at {whole.split('//', 1)[1]}",
            added=True,
            url=whole,
            model=model,
            api_key=api_key,
            context_tokens=context,
            is_llama_server=is_llama_server,
            **asdict(waits),
        )

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        return cls.of_url(name) if name.startswith(("http://", "https://")) else None

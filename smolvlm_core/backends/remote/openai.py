"""Answers by any server that speaks the OpenAI chat API: vLLM, LM Studio, `transformers serve`, llama-server and others.

The server applies its own chat template and prepares the pictures itself. What its model sees is up to the server, which is
what the vision check is for.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Self

from smolvlm_core.backends.base import Backend, Capabilities, Cause, Status
from smolvlm_core.backends.gguf_causes import heavy_quantization, quantization_in
from smolvlm_core.backends.remote.chat_api import chat_request, stopped, stream
from smolvlm_core.backends.remote.estimates import DEFAULT_CONTEXT, ESTIMATES, estimated_spec
from smolvlm_core.backends.remote.faults import ServerFault
from smolvlm_core.backends.remote.following import Cancelled
from smolvlm_core.backends.remote.http import authorization, device_of, get_json, no_vision, normal_url
from smolvlm_core.backends.remote.llama_causes import causes_in_properties, causes_in_template
from smolvlm_core.backends.remote.llama_completion import server_properties
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import rows, table, whole, words
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings


class OpenAIBackend(Backend):
    """A model of a server, by the address that ends in /v1. Nothing is sent before it is asked."""

    kind = "server"
    verdict_expires = True
    note = ESTIMATES

    def __init__(
        self,
        url: str,
        model: str = "",
        api_key: str = "",
        name: str = "",
        *,
        spec: ModelSpec | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self.url, self.model, self.api_key = normal_url(url), model, api_key
        self.name = name or f"{model or 'model'} · {self.url.split('//', 1)[-1].removesuffix('/v1')}"
        self.spec = spec or estimated_spec(model, f"url:{self.url} {model}".strip(), self.name, DEFAULT_CONTEXT)
        self._uses_self_report = True

    def identity(self) -> str:
        return f"{self.url} {self.model} {self.name}"

    def without_self_report(self) -> Self:
        """See `Backend`. What llama-server says of itself (/props) still counts: it does refuse pictures then."""
        other = copy.copy(self)
        other._uses_self_report = False
        return other

    @property
    def revision(self) -> str:
        return self.model

    @property
    def device(self) -> str:
        return device_of(self.url)

    @property
    def headers(self) -> dict[str, str]:
        return authorization(self.api_key)

    def capabilities(self) -> Capabilities:
        """Read from the server now.

        Raises:
            BackendError: it cannot be reached, refuses the key, or has no such model.
        """
        return self._capabilities(None)

    def _capabilities(self, cancel: threading.Event | None) -> Capabilities:
        listed = self._listed(cancel)
        vision = self_reported_vision(listed if self._uses_self_report else {}, self._props(cancel))
        sees = vision is not False
        context = listed_context(listed) or DEFAULT_CONTEXT
        return Capabilities(
            images=sees, video=sees, streaming=True, context_tokens=context, logprobs=True, json_schema=True
        )

    def status(self) -> Status:
        return self.timeouts.status

    @property
    def reads_text(self) -> bool:
        return catalog.BUNDLED not in f"{self.name} {self.revision} {self.model_served()}".lower()

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        try:
            request = self._request(prompt, settings, cancel)
        except Cancelled:
            return stopped(prompt)
        return stream(request, f"{self.url}/chat/completions", self.headers, prompt, cancel, self.timeouts)

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        if unseen == ("clips",):
            yield clips_cut_like_pictures()
        elif not unseen:
            yield from self._causes()

    def _causes(self) -> Iterator[Cause]:
        if (quantization := quantization_in(self.model_served())) is not None:
            yield heavy_quantization(f"the model ({quantization})")
        try:
            props = server_properties(self.url.removesuffix("/v1"), self.api_key, self.timeouts)
        except LensError:
            return  # not llama-server: it says no more about itself
        yield from causes_in_template(self.url.removesuffix("/v1"), self.api_key, str(props["media_marker"]))
        yield from causes_in_properties(props)

    def _request(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> dict[str, Any]:
        if prompt.slots and not self._capabilities(cancel).images:
            raise no_vision(self.name)
        return chat_request(prompt, settings, self.model_served(cancel))

    def model_served(self, cancel: threading.Event | None = None) -> str:
        """Its name on the server. Raises BackendError; Cancelled where `cancel` is set."""
        return self.model or words(self._listed(cancel).get("id"))

    def _listed(self, cancel: threading.Event | None = None) -> dict[str, Any]:
        """What /v1/models says of the model, or of the first one where none is named."""
        said = get_json(f"{self.url}/models", self.headers, self.timeouts, cancel)
        models = [listed for listed in rows(said.get("data")) if isinstance(listed, dict)]
        if not models:
            raise ServerFault(f"{self.url} serves no model.", "Load one there.")
        for listed in models:
            if self.model in ("", listed.get("id")):
                return listed
        names = ", ".join(words(m.get("id"))[:100] for m in models[:8])
        raise ServerFault(f"{self.url} has no model {self.model!r}.", f"It has: {names}.")

    def _props(self, cancel: threading.Event | None) -> dict[str, Any]:
        """llama-server's own description of itself; empty for other servers."""
        try:
            return get_json(f"{self.url.removesuffix('/v1')}/props", self.headers, self.timeouts, cancel)
        except BackendError:
            return {}


def clips_cut_like_pictures() -> Cause:
    return Cause(
        "Likely: the server cuts each frame of a clip like a picture, which SmolVLM2 was not trained on.",
        "For clips, use the checkpoint with transformers, or its GGUF files as a llama.cpp backend of this app.",
    )


def self_reported_vision(listed: dict[str, Any], props: dict[str, Any]) -> bool | None:
    """What the server says of its vision; None where it says nothing. Never a proof."""
    if "modalities" in props:
        return bool(table(props["modalities"]).get("vision"))
    inputs = table(listed.get("architecture")).get("input_modalities") or listed.get("input_modalities")
    if isinstance(inputs, list | str):
        return "image" in inputs
    for list_name in ("capabilities", "features"):
        names = listed.get(list_name)
        if isinstance(names, list) and {"vision", "multimodal", "image"} & set(map(str, names)):
            return True  # absence means nothing: some lists are of other things
    kind = listed.get("type")
    return {"vlm": True, "llm": False}.get(kind) if isinstance(kind, str) else None


def listed_context(listed: dict[str, Any]) -> int:
    """Context length in tokens by the names that vLLM, llama-server and LM Studio use; 0 where none is given."""
    meta = table(listed.get("meta"))
    for value in (
        listed.get("max_model_len"),
        meta.get("n_ctx"),
        listed.get("context_length"),
        listed.get("max_context_length"),
    ):
        if context := whole(value):
            return context
    return 0

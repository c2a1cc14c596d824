"""Answers by any server that speaks the OpenAI chat API: vLLM, LM Studio, `transformers serve`, llama-server, Ollama…

Formatting a request is apart from sending it. The server applies its own chat template and prepares the pictures itself:
what its model sees is the server's doing, which is what the vision check is for.
"""

from __future__ import annotations

import base64
import copy
import io
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Self

import httpx
from PIL import Image

from smolvlm_core.backends.base import Capabilities, Delta, Event, Progress
from smolvlm_core.backends.remote.stream import Cancelled, ServerGone, certificates, post_stream, refused
from smolvlm_core.errors import BackendError, LensError, NoVision
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.generation import GenerationSettings, Stats, StopReason
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.text import valid_text

DEFAULT_CONTEXT = 4096  # where a server does not tell: what small ones are often started with
PROBE_SECONDS = 5


class OpenAIBackend:
    """A model of a server, by the address that ends in /v1. Nothing is sent before it is asked."""

    def __init__(self, url: str, model: str = "", api_key: str = "", name: str = "") -> None:
        self.url, self.model, self.api_key = normal_url(url), model, api_key
        self.name = name or f"{model or 'model'} · {self.url.split('//', 1)[-1].removesuffix('/v1')}"
        self._believes = True

    def unbelieving(self) -> Self:
        """See `SelfDescribed`. What llama-server says of itself (/props) is believed: it does refuse pictures then."""
        other = copy.copy(self)
        other._believes = False
        return other

    @property
    def revision(self) -> str:
        return self.model

    @property
    def headers(self) -> dict[str, str]:
        return authorization(self.api_key)

    def capabilities(self) -> Capabilities:
        """Read from the server now.

        Raises:
            BackendError: it cannot be reached, refuses the key, or has no such model.
        """
        told = self._told()
        vision = sees_by_its_own_word(told if self._believes else {}, self._props())
        return Capabilities(vision is not False, vision is not False, True, context_of(told) or DEFAULT_CONTEXT)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        return stream(self._begin(prompt, settings), f"{self.url}/chat/completions", self.headers, prompt, cancel)

    def close(self) -> None:
        pass

    def _begin(self, prompt: Prompt, settings: GenerationSettings) -> dict[str, Any]:
        if prompt.slots and not self.capabilities().images:
            raise no_vision(self.name)
        return chat_request(prompt, settings, self.model_served())

    def model_served(self) -> str:
        """Its name on the server. Raises BackendError."""
        return self.model or str(self._told().get("id", ""))

    def _told(self) -> dict[str, Any]:
        """What /v1/models says of the model, or of the first one where none is named."""
        models = _get(f"{self.url}/models", self.headers).get("data") or []
        if not models:
            raise BackendError(f"{self.url} serves no model.", "Load one there.")
        for told in models:
            if self.model in ("", told.get("id")):
                return dict(told)
        names = ", ".join(str(m.get("id")) for m in models[:8])
        raise BackendError(f"{self.url} has no model {self.model!r}.", f"It has: {names}.")

    def _props(self) -> dict[str, Any]:
        """llama-server's own description of itself; empty for other servers."""
        try:
            return _get(f"{self.url.removesuffix('/v1')}/props", self.headers)
        except BackendError:
            return {}


def normal_url(url: str) -> str:
    """With a scheme and without a slash or an endpoint at the end; /v1 is added to a bare address.

    Raises:
        BackendError: not an http address.
    """
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    whole = whole.rstrip("/").removesuffix("/chat/completions").removesuffix("/models")
    try:
        parsed = httpx.URL(whole)
    except httpx.InvalidURL as error:
        raise BackendError(
            f"{url!r} is not the address of a server: {error}.", "Write it like http://127.0.0.1:8080/v1."
        ) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BackendError(f"{url!r} is not the address of a server.", "Write it like http://127.0.0.1:8080/v1.")
    return f"{whole}/v1" if parsed.path in ("", "/") else whole


def authorization(api_key: str) -> dict[str, str]:
    """The header of an API key. Raises BackendError for one that cannot be sent."""
    if not api_key.isascii() or not api_key.isprintable():
        raise BackendError("The API key holds characters that no key has.", "Copy it again.")
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def sees_by_its_own_word(told: dict[str, Any], props: dict[str, Any]) -> bool | None:
    """What the server says of its vision; None where it says nothing. Never a proof."""
    if "modalities" in props:
        return bool(props["modalities"].get("vision"))
    inputs = (told.get("architecture") or {}).get("input_modalities") or told.get("input_modalities")
    if inputs is not None:
        return "image" in inputs
    for list_name in ("capabilities", "features"):
        listed = told.get(list_name)
        if isinstance(listed, list) and {"vision", "multimodal", "image"} & set(map(str, listed)):
            return True  # that it is not listed says nothing: some lists are of other things
    kind = told.get("type")
    return {"vlm": True, "llm": False}.get(kind) if isinstance(kind, str) else None


def context_of(told: dict[str, Any]) -> int:
    """Context length in tokens by the names that vLLM, llama-server and LM Studio use; 0 where none is given."""
    meta = told.get("meta") or {}
    for value in (
        told.get("max_model_len"),
        meta.get("n_ctx"),
        told.get("context_length"),
        told.get("max_context_length"),
    ):
        if isinstance(value, int) and value > 0:
            return value
    return 0


def no_vision(name: str) -> LensError:
    return NoVision(
        f"{name} takes no pictures: the server says it has no vision.",
        "With llama.cpp, start it with the projector (--mmproj FILE); elsewhere, load a vision model.",
    )


# --- the request -----------------------------------------------------------------------------------------------------


def chat_request(prompt: Prompt, settings: GenerationSettings, model: str) -> dict[str, Any]:
    """The body of a streamed chat request. Text and pictures stand in the order of the prompt. Pure but for pixels."""
    slots = iter(prompt.slots)
    messages = [{"role": turn.role, "content": _content(turn.content, slots)} for turn in prompt.turns]
    return {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # llama-server only; others pass over what they do not know
        **sampling_fields(settings),
    }


def sampling_fields(settings: GenerationSettings) -> dict[str, Any]:
    """Settings in the API's names. A seed is sent with sampling only; the penalty, which is no part of the API's
    standard, under the names of vLLM and llama-server, only where it does something."""
    fields: dict[str, Any] = {"max_tokens": settings.max_new_tokens, "temperature": settings.temperature}
    if settings.temperature > 0:
        fields |= {"top_p": settings.top_p, "seed": settings.seed}
    if settings.repetition_penalty != 1:
        fields |= {"repetition_penalty": settings.repetition_penalty, "repeat_penalty": settings.repetition_penalty}
    return fields


def _content(text: str, slots: Iterator[Slot]) -> str | list[dict[str, Any]]:
    if IMAGE not in text:
        return text
    parts: list[dict[str, Any]] = []
    for i, piece in enumerate(text.split(IMAGE)):
        if i:
            parts.append({"type": "image_url", "image_url": {"url": data_uri(next(slots))}})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def data_uri(slot: Slot) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture_bytes(slot)).decode()}"


def picture_bytes(slot: Slot, square: int | None = None) -> bytes:
    """A slot's picture as PNG. The same bytes for the same slot, in this turn and the next: servers find what they
    have seen before by its bytes. `square`: squashed to that many px first, as SmolVLM2 does with video frames."""
    return _png_of(slot, square)


@lru_cache(maxsize=64)
def _png_of(slot: Slot, square: int | None) -> bytes:
    picture = slot.open().convert("RGB")
    if square is not None:
        picture = picture.resize((square, square), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


# --- the answer ------------------------------------------------------------------------------------------------------


def stream(
    body: dict[str, Any], url: str, headers: dict[str, str], prompt: Prompt, cancel: threading.Event
) -> Iterator[Event]:
    """Send it and read the answer; a failure is raised after the Stats."""
    tally = Tally(prompt.fingerprint)
    try:
        yield Progress("Sending the pictures" if prompt.slots else "Waiting for the server")
        for event in post_stream(url, body, cancel, headers):
            if not cancel.is_set():
                yield from tally.take(event)
        if not tally.ended and not cancel.is_set():
            raise ServerGone("The server stopped in the middle of the answer.", "What it had said is kept; ask again.")
    except Cancelled:
        tally.reason = "cancelled"
    except Exception:
        yield tally.stats("failed")
        raise
    yield tally.stats("cancelled" if cancel.is_set() else tally.reason)


class Tally:
    """Counts one streamed chat answer. One piece of text is taken for one token where the server gives no numbers."""

    def __init__(self, fingerprint: str, image_tokens: int = 0) -> None:
        self.fingerprint, self.image_tokens = fingerprint, image_tokens
        self.reason: StopReason = "end"
        self.began = time.perf_counter()
        self.first: float | None = None
        self.pieces = 0
        self._half = ""
        self.begun = False
        self.ended = False
        self.usage: dict[str, Any] = {}
        self.timings: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> Iterator[Event]:
        if (progress := event.get("prompt_progress")) is not None:
            yield reading(progress)
        self.usage = event.get("usage") or self.usage
        self.timings = event.get("timings") or self.timings
        for choice in event.get("choices") or []:
            text = (choice.get("delta") or {}).get("content") or ""
            if text:
                yield from self.said(text)
            if (ended := choice.get("finish_reason")) is not None:
                self.ended = True
                self.reason = "length" if ended == "length" else "end"

    def said(self, text: str) -> Iterator[Delta]:
        if self.first is None:
            self.first = time.perf_counter()
        self.pieces += 1
        text = self._whole(text)
        text = text if self.begun else text.lstrip(" ")
        if text:
            self.begun = True
            yield Delta(text)

    def _whole(self, text: str) -> str:
        """Valid text. The first half of a surrogate pair waits for the second, which may come with the next piece."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return valid_text(text)

    def stats(self, reason: StopReason, **more: Any) -> Stats:
        now = time.perf_counter()
        new = self.usage.get("completion_tokens") or self.timings.get("predicted_n") or self.pieces
        decoding = now - self.first if self.first is not None else 0.0
        measured = (new - 1) / decoding if new > 1 and decoding > 0 else None
        details = self.usage.get("prompt_tokens_details") or {}
        return Stats(
            reason,
            image_tokens=self.image_tokens,
            prompt_tokens=self.usage.get("prompt_tokens") or 0,
            reused_tokens=self.timings.get("cache_n") or details.get("cached_tokens") or 0,
            new_tokens=new,
            time_to_first_token_seconds=self.first - self.began if self.first is not None else None,
            tokens_per_second=self.timings.get("predicted_per_second") if new > 1 and self.timings else measured,
            total_seconds=now - self.began,
            prompt_fingerprint=self.fingerprint,
            **more,
        )


def reading(progress: dict[str, Any]) -> Progress:
    """llama-server's `prompt_progress`, in words."""
    done, total = progress.get("processed", 0), progress.get("total", 0)
    return Progress(f"Reading the prompt: {done} of {total} tokens", done / total if total else None)


def _get(url: str, headers: dict[str, str]) -> dict[str, Any]:
    try:
        answer = httpx.get(url, headers=headers, timeout=PROBE_SECONDS, trust_env=False, verify=certificates())
    except httpx.TransportError as error:
        raise BackendError(
            f"Nothing answers at {url}: {error}.", "Start the server, or correct the address."
        ) from error
    if answer.status_code != 200:
        raise refused(url, answer)
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise BackendError(f"{url} did not answer with JSON.", "Check the address: it often ends in /v1.")
    return said

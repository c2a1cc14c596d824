"""The OpenAI chat API: a prompt as a request, and a streamed answer as events.

Formatting a request is apart from sending it. Does not know backends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from PIL import Image

from smolvlm_core import media
from smolvlm_core.backends.remote.faults import ServerGone
from smolvlm_core.backends.remote.following import Cancelled
from smolvlm_core.backends.remote.stream import post_stream
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import number, rows, table, whole, words
from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats, StopReason, TokenLogprob
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.text import valid_text

_encoded: ByteCache[bytes] = ByteCache(64 * 2**20, len)

# The request


def chat_request(prompt: Prompt, settings: GenerationSettings, model: str) -> dict[str, Any]:
    """The body of a streamed chat request. Text and pictures are in the order of the prompt. Pure but for pixels."""
    slots = iter(prompt.slots)
    messages = [{"role": turn.role, "content": _content(turn.content, slots)} for turn in prompt.turns]
    return {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # llama-server only; others ignore it
        **sampling_fields(settings),
    }


def sampling_fields(settings: GenerationSettings) -> dict[str, Any]:
    """Settings under the API's names.

    The seed is sent only with sampling. The repetition penalty is not part of the API: it is sent under the names of vLLM and
    llama-server, and only where it has an effect.
    """
    fields: dict[str, Any] = {"max_tokens": settings.max_new_tokens, "temperature": settings.temperature}
    if settings.temperature > 0:
        fields |= {"top_p": settings.top_p, "seed": settings.seed}
    if settings.repetition_penalty != 1:
        fields |= {"repetition_penalty": settings.repetition_penalty, "repeat_penalty": settings.repetition_penalty}
    if settings.top_logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": settings.top_logprobs}
    if settings.json_schema:
        schema = {"name": "answer", "schema": json.loads(settings.json_schema), "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields


def _content(text: str, slots: Iterator[Slot]) -> str | list[dict[str, Any]]:
    if IMAGE not in text:
        return text
    parts: list[dict[str, Any]] = []
    for i, piece in enumerate(text.split(IMAGE)):
        if i:
            slot = next(slots)
            detail = {} if slot.tiled else {"detail": "low"}  # a frame: one tile, where the server knows that
            parts.append({"type": "image_url", "image_url": {"url": data_uri(slot), **detail}})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def data_uri(slot: Slot) -> str:
    return media.data_uri(picture_bytes(slot))


def picture_bytes(slot: Slot, square: int | None = None) -> bytes:
    """A slot's picture as PNG: the same bytes in this turn and the next, since servers find what they have seen before by its bytes.

    `square`: scaled to that many px a side first, as SmolVLM2 does with video frames.
    """
    return _encoded.get((slot, square), lambda: _png(slot, square))


def _png(slot: Slot, square: int | None) -> bytes:
    picture = slot.open().convert("RGB")
    if square is not None:
        picture = picture.resize((square, square), Image.Resampling.LANCZOS)
    return media.png_bytes(picture)


# The answer


def stream(
    body: dict[str, Any],
    url: str,
    headers: dict[str, str],
    prompt: Prompt,
    cancel: threading.Event,
    timeouts: Timeouts | None = None,
) -> Iterator[Event]:
    """Send a request and read the answer. A failure is raised after the Stats."""
    tally = Tally(prompt.fingerprint)
    try:
        yield Progress("Sending the pictures" if prompt.slots else "Waiting for the server")
        for event in post_stream(url, body, cancel, headers, timeouts):
            yield from tally.take(event)
        if not tally.ended and not cancel.is_set():
            raise ServerGone("The server stopped in the middle of the answer.", "The text so far is saved. Ask again.")
    except Cancelled:
        tally.reason = "cancelled"
    except Exception:
        yield tally.stats("failed")
        raise
    yield tally.stats("cancelled" if cancel.is_set() else tally.reason)


def stopped(prompt: Prompt) -> Iterator[Event]:
    """The events of an answer that was stopped before the server was asked."""
    yield Tally(prompt.fingerprint).stats("cancelled")


class Tally:
    """Counts one streamed answer. One piece of text counts as one token where the server gives no numbers."""

    def __init__(self, fingerprint: str, image_tokens: int = 0) -> None:
        self.fingerprint, self.image_tokens = fingerprint, image_tokens
        self.reason: StopReason = "end"
        self.created = self.began = time.perf_counter()
        self.first: float | None = None
        self.pieces = 0
        self._half = ""
        self.begun = False
        self.ended = False
        self.usage: dict[str, Any] = {}
        self.timings: dict[str, Any] = {}
        self.load_seconds = 0.0  # as the server reports it, or of starting it

    def start(self) -> None:
        """The model begins on the question now: what came before was waiting or loading."""
        self.began = time.perf_counter()

    def take(self, event: dict[str, Any]) -> Iterator[Event]:
        if (progress := event.get("prompt_progress")) is not None:
            yield prompt_progress(progress)
        self.usage = table(event.get("usage")) or self.usage
        self.timings = table(event.get("timings")) or self.timings
        for choice in map(table, rows(event.get("choices"))):
            text = table(choice.get("delta")).get("content")
            yield from self.add_text(text, logprobs_in(table(choice.get("logprobs")).get("content")))
            if (ended := choice.get("finish_reason")) is not None:
                self.ended = True
                self.reason = "length" if ended == "length" else "end"

    def add_text(self, text: Any, logprobs: tuple[TokenLogprob, ...] = ()) -> Iterator[Delta]:
        text = text if isinstance(text, str) else ""
        if not text and not logprobs:
            return
        if self.first is None:
            self.first = time.perf_counter()
        self.pieces += 1
        text = self._whole(text)
        text = text if self.begun else text.lstrip(" ")
        self.begun = self.begun or bool(text)
        if text or logprobs:
            yield Delta(text, logprobs)

    def _whole(self, text: str) -> str:
        """Valid text. The first half of a surrogate pair waits for the second, which may come with the next piece."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return valid_text(text)

    def stats(self, reason: StopReason, *, queued_seconds: float = 0.0, **more: Any) -> Stats:
        now = time.perf_counter()
        new = whole(self.usage.get("completion_tokens")) or whole(self.timings.get("predicted_n")) or self.pieces
        decoding = now - self.first if self.first is not None else 0.0
        measured = (new - 1) / decoding if new > 1 and decoding > 0 else None
        details = table(self.usage.get("prompt_tokens_details"))
        reported = number(self.timings.get("predicted_per_second")) if self.timings else measured
        return Stats(
            reason,
            image_tokens=self.image_tokens,
            prompt_tokens=whole(self.usage.get("prompt_tokens")),
            reused_tokens=whole(self.timings.get("cache_n")) or whole(details.get("cached_tokens")),
            new_tokens=new,
            time_to_first_token_seconds=self.first - self.began if self.first is not None else None,
            tokens_per_second=reported if new > 1 else measured,
            total_seconds=now - self.created + queued_seconds,
            queued_seconds=queued_seconds,
            load_seconds=self.load_seconds,
            prompt_fingerprint=self.fingerprint,
            **more,
        )


def logprobs_in(given: Any) -> tuple[TokenLogprob, ...]:
    """Of the form that OpenAI's API and llama-server share; empty where there are none, or they have another form."""
    found = [
        _logprob(table(row)) for row in rows(given) if table(row).get("token") != ""
    ]  # llama-server lists the end, too
    return tuple(one for one in found if one is not None) if None not in found else ()


def _logprob(row: dict[str, Any]) -> TokenLogprob | None:
    likely = [
        (words(table(one).get("token")), number(table(one).get("logprob"))) for one in rows(row.get("top_logprobs"))
    ]
    value = number(row.get("logprob"))
    if value is None or not isinstance(row.get("token"), str):
        return None
    return TokenLogprob(words(row["token"]), value, tuple((text, p) for text, p in likely if p is not None))


def prompt_progress(given: Any) -> Progress:
    """llama-server's `prompt_progress` as Progress."""
    done, total = whole(table(given).get("processed")), whole(table(given).get("total"))
    return Progress(f"Reading the prompt: {done:,} of {total:,} tokens", min(done / total, 1.0) if total else None)

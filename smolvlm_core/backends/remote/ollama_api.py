"""Ollama's requests, answers and errors. Pure but for pixels."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx

from smolvlm_core.backends.remote.bounded import client_options
from smolvlm_core.backends.remote.chat_api import Tally, picture_bytes
from smolvlm_core.backends.remote.faults import ServerGone, error_of
from smolvlm_core.backends.remote.following import Connection, followed
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import table, whole
from smolvlm_core.errors import BackendError, ContextTooSmall, LensError, PromptError
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.geometry import VisionGeometry, estimate_tokens
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.text import valid_text

DEFAULT_URL = "http://127.0.0.1:11434"
# What Ollama counts a picture as when it decides which earlier messages to leave out, whatever it really takes
# (ollama/server/prompt.go, imageNumTokens). The context must hold by that count too, or pictures are dropped silently.
COUNTED_PER_PICTURE = 768
LEAST_CONTEXT, STEP = 4096, 1024


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Ollama's messages. Raises PromptError where the user's own text contains [img], which stands for a picture."""
    slots = iter(prompt.slots)
    out = []
    for turn in prompt.turns:
        if "[img]" in turn.content:
            raise PromptError("Your text contains [img], which Ollama reads as a picture.", "Write it differently.")
        images = [picture_bytes(next(slots)) for _ in range(turn.content.count(IMAGE))]
        content = turn.content.replace(IMAGE, "[img]")
        out.append({"role": turn.role, "content": content, **({"images": images} if images else {})})
    return out


def options(settings: GenerationSettings, context_tokens: int) -> dict[str, Any]:
    """Ollama's own defaults (top-k 40, a repetition penalty of 1.1) are turned off."""
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
    """How a model of that name cuts pictures: like the SmolVLM2 of that size; of unknown size, like the one that needs most."""
    sizes = {spec.key.split("-")[1].lower(): spec.geometry for spec in catalog.PUBLISHED}
    return next((cut for size, cut in sizes.items() if size in model.lower()), catalog.PUBLISHED[0].geometry)


def context_for(prompt: Prompt, settings: GenerationSettings, most: int, geometry: VisionGeometry) -> int:
    """A context length that holds the prompt and an answer, by Ollama's count of a picture and by what pictures take.

    Ollama cuts frames like pictures. Raises ContextTooSmall where the model's context is too short.
    """
    taken = sum(estimate_tokens(Prompt(prompt.turns, ()), geometry))
    for slot in prompt.slots:
        tokens, marks = estimate_tokens(Prompt((), (replace(slot, tiled=True),)), geometry)
        taken += max(COUNTED_PER_PICTURE, tokens + marks)
    needed = taken + settings.max_new_tokens
    if most and needed > most:
        raise ContextTooSmall(
            f"The conversation takes up to {needed} tokens with its {len(prompt.slots)} pictures and the answer; the model has "
            f"room for {most}. Ollama would drop pictures silently.",
            "Show fewer pictures or frames, or start a new conversation.",
        )
    wanted = max(LEAST_CONTEXT, math.ceil(needed / STEP) * STEP)
    return min(wanted, most) if most else wanted


# The answer


def count(part: Any, tally: Tally) -> None:
    """Take the figures of the last part. Durations are in nanoseconds."""
    tally.reason = "length" if part.done_reason == "length" else "end"
    tally.usage = {"prompt_tokens": part.prompt_eval_count, "completion_tokens": part.eval_count}
    if loading := whole(part.load_duration):
        tally.load_seconds = loading / 1e9
        tally.began += tally.load_seconds  # loading is not part of the time to first token
    if (seconds := whole(part.eval_duration) / 1e9) and (tokens := whole(part.eval_count)):
        tally.timings = {"predicted_per_second": tokens / seconds}


def from_ollama(
    url: str,
    model: str,
    ask: Callable[[Any], Iterator[Any]],
    timeouts: Timeouts,
    cancel: threading.Event | None = None,
    *,
    streams: bool = False,
) -> Iterator[Any]:
    """What `ask` gets from an ollama.Client, as it comes. See `bounded` for how much may come.

    Raises:
        Cancelled: `cancel` was set.
        BackendError: for errors between the client and the server.
    """
    import ollama

    connection, began = Connection(), False

    def watch(request: httpx.Request) -> None:
        request.extensions["trace"] = connection.noticed

    def read() -> Iterator[Any]:
        hooks = {"request": [watch]}
        with ollama.Client(url, event_hooks=hooks, **client_options(url, timeouts, streams=streams)) as client:  # type: ignore[arg-type]
            yield from ask(client)

    try:
        for item in followed(read, url, timeouts, connection, cancel):
            began = True
            yield item
    except (
        ollama.ResponseError,
        httpx.HTTPError,
        httpx.InvalidURL,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        raise _error_in_words(error, url, model, began and streams) from error


def _error_in_words(error: Exception, url: str, model: str, began: bool) -> LensError:
    import ollama

    if not began or isinstance(error, ollama.ResponseError):
        return ollama_error(error, url, model)
    broken = isinstance(error, httpx.HTTPError | OSError)
    what = f"stopped answering ({type(error).__name__})" if broken else "sent something that cannot be read"
    return ServerGone(f"Ollama at {url} {what}.", "The text so far is saved. Ask again.")


def ollama_error(error: Exception, url: str, model: str) -> LensError:
    """Ollama's errors as errors that a user can act on."""
    if isinstance(error, ValueError | TypeError | AttributeError | httpx.InvalidURL):
        # an address or an answer that the client cannot read
        return BackendError(
            f"What answers at {url} is not Ollama.", f"Correct the address: Ollama's own is {DEFAULT_URL}."
        )
    if isinstance(error, httpx.HTTPError | OSError):
        return BackendError(f"Ollama does not answer at {url}.", "Start it (`ollama serve`), or correct the address.")
    text = valid_text(str(getattr(error, "error", "") or error)).strip()[:300]
    if getattr(error, "status_code", 0) == 404 or "not found" in text:
        return BackendError(
            f"Ollama has no model {model!r}.", f"`ollama pull {model}`, or `ollama list` for what it has."
        )
    if "memory" in text:
        return BackendError(
            f"Ollama: {text}", "Choose a smaller model, or show fewer pictures: the context grows with them."
        )
    return error_of(text)


def longest_context(info: Any) -> int:
    """The model's longest context; 0 where it is unknown."""
    return next((whole(value) for name, value in table(info).items() if name.endswith(".context_length")), 0)

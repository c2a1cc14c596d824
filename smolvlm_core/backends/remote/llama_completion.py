"""llama-server's own `/completion`: the exact prompt as text with marks for the pictures, not as a chat.

So its model reads token for token what the transformers backend sends, whatever template the GGUF has. Only the pictures
are cut by the server: always into tiles and an overview, so a video frame, one tile for transformers, is at least two.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

from smolvlm_core.backends.remote.chat_api import Tally, logprobs_in, picture_bytes, prompt_progress
from smolvlm_core.backends.remote.faults import ServerGone
from smolvlm_core.backends.remote.http import authorization, json_of, whole_answer
from smolvlm_core.backends.remote.stream import post_stream
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import table, whole
from smolvlm_core.errors import BackendError
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.generation import Event, GenerationSettings, Progress
from smolvlm_core.prompt.geometry import VisionGeometry
from smolvlm_core.prompt.template import IMAGE


def completion_request(
    prompt: Prompt, settings: GenerationSettings, mark: str, geometry: VisionGeometry, *, cold: bool = False
) -> dict[str, Any]:
    """The body of a streamed `/completion`: the exact prompt, `mark` for each picture. Pure but for pixels.

    `cold`: the server reads all of it again and encodes all pictures again, whatever its slots and its prompt cache hold.
    Settings that transformers does not have are turned off: llama-server's own defaults differ.
    """
    said: Any = prompt.text.replace(IMAGE, mark)
    if prompt.slots:
        pictures = [base64.b64encode(_sent(slot, geometry)).decode() for slot in prompt.slots]
        said = {"prompt_string": said, "multimodal_data": pictures}
    return {
        "prompt": said,
        "stream": True,
        "cache_prompt": not cold,
        "return_progress": True,
        "n_predict": settings.max_new_tokens,
        "temperature": settings.temperature,
        "samplers": ["penalties", "temperature", "top_p"],  # in transformers' order
        "top_p": settings.top_p,
        "repeat_penalty": settings.repetition_penalty,
        "repeat_last_n": 2**20,  # all of the context, as in transformers
        "seed": settings.seed % 2**32,
        **({"n_probs": max(1, settings.top_logprobs)} if settings.top_logprobs is not None else {}),
        **({"json_schema": json.loads(settings.json_schema)} if settings.json_schema else {}),
    }


def _sent(slot: Slot, geometry: VisionGeometry) -> bytes:
    """Frames are squashed to a tile here, with the same filter as in transformers, and not by the server."""
    return picture_bytes(slot, None if slot.tiled else geometry.tile)


def complete(
    url: str,
    prompt: Prompt,
    settings: GenerationSettings,
    geometry: VisionGeometry,
    cancel: threading.Event,
    tally: Tally,
    api_key: str = "",
    timeouts: Timeouts | None = None,
    *,
    cold: bool = False,
) -> Iterator[Event]:
    """Ask a llama-server, and count in `tally`. Raises Cancelled or BackendError."""
    tally.start()
    yield Progress("Preparing pictures" if prompt.slots else "Reading the question")
    mark = server_properties(url, api_key, timeouts, cancel)["media_marker"] if prompt.slots else IMAGE
    body = completion_request(prompt, settings, mark, geometry, cold=cold)
    headers = authorization(api_key)
    whole = False
    for event in post_stream(f"{url}/completion", body, cancel, headers, timeouts):
        whole = whole or bool(event.get("stop"))
        yield from take_completion(event, tally)
    if not whole:
        raise ServerGone("The server stopped in the middle of the answer.", "The text so far is saved. Ask again.")


def take_completion(event: dict[str, Any], tally: Tally) -> Iterator[Event]:
    """One event of `/completion`."""
    if (progress := event.get("prompt_progress")) is not None:
        yield prompt_progress(progress)
    yield from tally.add_text(event.get("content"), logprobs_in(event.get("completion_probabilities")))
    if event.get("stop"):
        predicted = whole(event.get("tokens_predicted"))
        tally.timings = table(event.get("timings"))
        tally.usage = {"prompt_tokens": event.get("tokens_evaluated"), "completion_tokens": predicted}
        if event.get("stop_type") == "limit":
            wanted = whole(table(event.get("generation_settings")).get("n_predict"))
            tally.reason = "context" if event.get("truncated") or predicted < wanted else "length"


def _is_marker(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < 200


def server_properties(
    url: str, api_key: str = "", timeouts: Timeouts | None = None, cancel: threading.Event | None = None
) -> dict[str, Any]:
    """llama-server's /props. Raises Cancelled, and BackendError where nothing answers or something else does."""
    answer = whole_answer("GET", f"{url}/props", authorization(api_key), timeouts=timeouts, cancel=cancel)
    if answer.status_code == 401:
        raise BackendError(f"{url} refused the API key.", "Enter the right one.")
    props = json_of(answer)
    if props is None or not isinstance(props.get("modalities"), dict) or not _is_marker(props.get("media_marker")):
        raise BackendError(f"{url} is not a llama-server, or an old one.", "Add it as an OpenAI-compatible server.")
    return props

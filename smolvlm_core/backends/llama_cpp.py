"""Answers with llama.cpp: a llama-server that this process started and shares, or one running elsewhere.

The prompt goes to the server as text with marks for the pictures (`/completion`), not as a chat: so what its model
reads is token for token what the transformers backend sends, whatever template the GGUF has. Only the pictures are cut
by the server: always into tiles and an overview, so that a video frame, one tile for transformers, is at least two.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import httpx

from smolvlm_core.backends.base import Capabilities, Event, Progress
from smolvlm_core.backends.queue import Start, follow
from smolvlm_core.backends.remote.openai import Tally, authorization, no_vision, picture_bytes, reading
from smolvlm_core.backends.remote.stream import Cancelled, ServerGone, certificates, post_stream
from smolvlm_core.errors import BackendError, LensError, NoVision
from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.generation import GenerationSettings, StopReason
from smolvlm_core.prompt.geometry import VisionGeometry
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.work.worker import Worker

logger = logging.getLogger(__name__)
# How a server cuts pictures: "tiles" as SmolVLM2 does with pictures, "frames" into one tile and an overview.
Cut = Literal["tiles", "frames"]


class LlamaCppBackend:
    """A pair of GGUF files as a backend. Cheap to make; all of them for one pair share its server."""

    def __init__(self, spec: ModelSpec, options: ServerOptions) -> None:
        self.spec, self.options = spec, options
        self.name = f"{spec.title} · llama.cpp{'' if options.projector else ', no projector'}"

    @property
    def handle(self) -> ServerHandle:
        return SERVERS.get(self.spec, self.options)

    @property
    def revision(self) -> str:
        server = self.handle.server
        return f"{self.options.text.name}, llama.cpp {server.program.told}" if server else self.options.text.name

    def capabilities(self) -> Capabilities:
        sees = self.options.projector is not None
        return Capabilities(sees, sees, True, self.options.context_tokens)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        if prompt.slots and self.options.projector is None:
            raise NoVision(
                f"{self.name}: without its projector this model cannot be shown pictures. A chat program would drop them "
                "and it would answer all the same, about nothing it has seen.",
                "Add it again with its mmproj file; `python -m smolvlm_core convert` makes both.",
            )
        return follow(lambda: self.handle, lambda handle: _Run(handle, prompt, settings, cancel), cancel)

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Startable`: the server is started, or started anew where it cuts pictures another way."""

        def start(handle: ServerHandle) -> Start:
            return Start(lambda tell: handle.ensure_running(cut_for(prompt), cancel), cancel)

        return follow(lambda: self.handle, start, cancel)

    @property
    def load_seconds(self) -> float | None:
        return self.handle.load_seconds or None

    def close(self) -> None:
        """Stop the server, once the answer that it may be making has ended."""
        SERVERS.release(self.handle)


class ServerHandle:
    """One server of the pool: where it stands, its worker, and the process once it runs."""

    def __init__(self, spec: ModelSpec, options: ServerOptions) -> None:
        self.spec, self.options = spec, options
        self.worker = Worker(f"llama-server-{spec.title}")
        self.state: Literal["not loaded", "loading", "ready", "failed"] = "not loaded"
        self.status_text = ""
        self.status_fraction: float | None = None
        self.error: LensError | None = None
        self.server: LlamaServer | None = None
        self.cut: Cut = "tiles"
        self.load_seconds = 0.0

    def ensure_running(self, cut: Cut | None, cancel: threading.Event) -> LlamaServer:
        """A server that answers and cuts pictures that way (None: either). Call on the worker's thread only.

        One model has one server: for the other way of cutting it is started anew, which takes a second or so and no
        more memory than one.
        """
        if self.server is not None and self.server.alive and cut in (None, self.cut):
            return self.server
        if self.server is not None:
            self.server.stop()
        self.server, self.cut = None, cut or self.cut
        return self._start(cancel)

    def _start(self, cancel: threading.Event) -> LlamaServer:
        def tell(text: str, fraction: float | None) -> None:
            self.status_text, self.status_fraction = text, fraction

        self.state, self.error = "loading", None
        tell("Starting llama-server", None)
        began = time.perf_counter()
        limit = self.spec.geometry.tokens_per_tile if self.cut == "frames" else None
        options = replace(self.options, image_max_tokens=limit)
        try:
            self.server = LlamaServer.start(options, tell, cancel)
        except LensError as error:
            self.state, self.error = ("not loaded", None) if cancel.is_set() else ("failed", error)
            raise
        except Exception as error:
            self.state, self.error = "failed", BackendError(f"llama-server was not started: {error!r}.", "See the log.")
            raise
        self.state, self.load_seconds = "ready", time.perf_counter() - began
        return self.server

    def reset(self) -> None:
        """Forget a failed start, so that it is tried again."""
        if self.state == "failed":
            self.state, self.error = "not loaded", None

    def preload(self) -> None:
        """Start it in the background; a failure is kept in `error`."""

        def work() -> None:
            try:
                self.ensure_running(None, threading.Event())
            except LensError as error:
                logger.info("%s", error)  # kept in self.error, which the sidebar shows

        if not self.worker.busy:
            self.worker.submit(work)

    def close_when_idle(self) -> None:
        while not self.worker.close_if_idle():
            time.sleep(0.2)
        self.close()

    def close(self) -> None:
        self.worker.close()
        if self.server is not None:
            self.server.stop()
        self.server, self.state = None, "not loaded"


class ServerPool:
    """One server for each pair of files, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: dict[ServerOptions, ServerHandle] = {}

    def get(self, spec: ModelSpec, options: ServerOptions) -> ServerHandle:
        with self._lock:
            if options not in self._handles:
                self._handles[options] = ServerHandle(spec, options)
            return self._handles[options]

    def running(self) -> list[ServerHandle]:
        with self._lock:
            return [h for h in self._handles.values() if h.server is not None]

    def release(self, handle: ServerHandle) -> None:
        """Take a server out of the pool and stop it: at once, or after the last answer that was asked of it."""
        with self._lock:
            self._handles = {k: h for k, h in self._handles.items() if h is not handle}
        if handle.worker.close_if_idle():
            handle.close()
        else:
            threading.Thread(target=handle.close_when_idle, daemon=True).start()

    def close(self) -> None:
        with self._lock:
            handles, self._handles = list(self._handles.values()), {}
        for handle in handles:
            handle.close()


SERVERS = ServerPool()  # its servers end with this process: see servers/keeper.py


class _Run:
    """One answer, made on the worker's thread."""

    def __init__(self, handle: ServerHandle, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event):
        self.handle, self.prompt, self.settings, self.cancel = handle, prompt, settings, cancel
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.asked = time.perf_counter()

    def work(self) -> None:
        queued = time.perf_counter() - self.asked
        tally = Tally(self.prompt.fingerprint)
        reason: StopReason = "failed"
        failure: BaseException | None = None
        try:
            reason = self._answer(tally)
        except Cancelled:
            reason = "cancelled"
        except LensError as error:
            failure = error
            if self.cancel.is_set():  # heard while the server was starting
                reason, failure = "cancelled", None
        except BaseException as error:
            failure = error
        server = self.handle.server
        if isinstance(failure, ServerGone) and server is not None and server.ends_within(3):
            failure = self._died(server, failure)
        memory = server.memory_bytes if server is not None else 0
        stats = tally.stats(reason, queued_seconds=queued, peak_memory_bytes=memory, memory_of="llama-server's RAM")
        self.events.put(stats)
        if failure is not None:
            self.events.put(failure)

    def _answer(self, tally: Tally) -> StopReason:
        if self.cancel.is_set():
            raise Cancelled
        server = self.handle.ensure_running(cut_for(self.prompt), self.cancel)
        geometry = self.handle.spec.geometry
        tally.image_tokens = geometry.image_tokens(self.prompt.slots)
        for event in complete(server.url, self.prompt, self.settings, geometry, self.cancel, tally):
            self.events.put(event)
        return tally.reason

    def _died(self, server: LlamaServer, error: ServerGone) -> BackendError:
        """Start another in the place of one that died in mid-answer, and say so."""
        why = server.why_it_ended()
        self.handle.server, self.handle.state = None, "not loaded"
        with contextlib.suppress(RuntimeError):  # taken out of the pool meanwhile: not started again
            self.handle.worker.submit(self._start_again)
        worded = BackendError(
            f"llama-server ended in the middle of the answer: {why}",
            f"It is being started again; ask again. What it had said is kept. Its log is {server.log}.",
        )
        worded.__cause__ = error
        return worded

    def _start_again(self) -> None:
        try:
            self.handle.ensure_running(None, threading.Event())
        except LensError as error:
            logger.warning("%s", error)


class LlamaServerBackend:
    """A llama-server running elsewhere, by its address. It was started by someone else: how it cuts pictures is its own, and
    how many tokens they take is not told."""

    def __init__(self, spec: ModelSpec, url: str, api_key: str = "", name: str = "") -> None:
        self.spec, self.url, self.api_key = spec, url.rstrip("/").removesuffix("/v1"), api_key
        self.name = name or f"llama-server at {self.url.split('//', 1)[-1]}"
        self.revision = ""

    def capabilities(self) -> Capabilities:
        props = server_properties(self.url, self.api_key)
        sees = bool(props["modalities"].get("vision"))
        context = (props.get("default_generation_settings") or {}).get("n_ctx") or self.spec.context_tokens
        return Capabilities(sees, sees, True, int(context))

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        props = server_properties(self.url, self.api_key)
        if prompt.slots and not props["modalities"].get("vision"):
            raise no_vision(self.name)
        self.revision = f"{props.get('model_path', '')}, llama.cpp {props.get('build_info', '')}"
        return self._stream(prompt, settings, cancel)

    def _stream(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        tally = Tally(prompt.fingerprint)
        try:
            yield from complete(self.url, prompt, settings, self.spec.geometry, cancel, tally, self.api_key)
        except Cancelled:
            tally.reason = "cancelled"
        except Exception:
            yield tally.stats("failed")
            raise
        yield tally.stats(tally.reason)

    def close(self) -> None:
        pass


def cut_for(prompt: Prompt) -> Cut | None:
    """Video frames are one tile each for SmolVLM2: as few as the server can do. Pictures among them need their tiles."""
    if not prompt.slots:
        return None
    return "tiles" if any(slot.tiled for slot in prompt.slots) else "frames"


def completion_request(
    prompt: Prompt, settings: GenerationSettings, mark: str, geometry: VisionGeometry
) -> dict[str, Any]:
    """The body of a streamed `/completion`: the exact prompt, `mark` for each picture. Pure but for pixels.

    Settings that transformers does not have are switched off: llama-server's own defaults differ.
    """
    said: Any = prompt.text.replace(IMAGE, mark)
    if prompt.slots:
        pictures = [base64.b64encode(_sent(slot, geometry)).decode() for slot in prompt.slots]
        said = {"prompt_string": said, "multimodal_data": pictures}
    return {
        "prompt": said,
        "stream": True,
        "cache_prompt": True,
        "return_progress": True,
        "n_predict": settings.max_new_tokens,
        "temperature": settings.temperature,
        "samplers": ["penalties", "temperature", "top_p"],  # in transformers' order
        "top_p": settings.top_p,
        "repeat_penalty": settings.repetition_penalty,
        "repeat_last_n": 2**20,  # all of the context, as in transformers
        "seed": settings.seed % 2**32,
    }


def _sent(slot: Slot, geometry: VisionGeometry) -> bytes:
    """A frame is squashed to the tile here, by the same filter as transformers', and not by the server."""
    return picture_bytes(slot, None if slot.tiled else geometry.tile)


def complete(
    url: str,
    prompt: Prompt,
    settings: GenerationSettings,
    geometry: VisionGeometry,
    cancel: threading.Event,
    tally: Tally,
    api_key: str = "",
) -> Iterator[Event]:
    """Ask a llama-server and count in `tally`. Raises Cancelled, or BackendError."""
    yield Progress("Preparing pictures" if prompt.slots else "Reading the question")
    mark = server_properties(url, api_key)["media_marker"] if prompt.slots else IMAGE
    body = completion_request(prompt, settings, mark, geometry)
    headers = authorization(api_key)
    whole = False
    for event in post_stream(f"{url}/completion", body, cancel, headers):
        if cancel.is_set():
            raise Cancelled
        whole = whole or bool(event.get("stop"))
        yield from take_completion(event, tally)
    if not whole:
        raise ServerGone("The server stopped in the middle of the answer.", "What it had said is kept; ask again.")


def take_completion(event: dict[str, Any], tally: Tally) -> Iterator[Event]:
    """One event of `/completion`."""
    if (progress := event.get("prompt_progress")) is not None:
        yield reading(progress)
    if text := event.get("content"):
        yield from tally.said(text)
    if event.get("stop"):
        tally.timings = event.get("timings") or {}
        tally.usage = {
            "prompt_tokens": event.get("tokens_evaluated"),
            "completion_tokens": event.get("tokens_predicted"),
        }
        if event.get("stop_type") == "limit":
            full = event.get("truncated") or event.get("tokens_predicted", 0) < (
                event.get("generation_settings") or {}
            ).get("n_predict", 0)
            tally.reason = "context" if full else "length"


def server_properties(url: str, api_key: str = "") -> dict[str, Any]:
    """llama-server's /props. Raises BackendError where nothing answers or something else does."""
    headers = authorization(api_key)
    try:
        answer = httpx.get(f"{url}/props", headers=headers, timeout=10, trust_env=False, verify=certificates())
        props = answer.json()
    except httpx.TransportError as error:
        raise BackendError(
            f"Nothing answers at {url}: {error}.", "Start llama-server, or correct the address."
        ) from error
    except ValueError:
        props = None
    if answer.status_code == 401:
        raise BackendError(f"{url} refused the API key.", "Give the right one.")
    if not isinstance(props, dict) or not {"modalities", "media_marker"} <= set(props):
        raise BackendError(f"{url} is not a llama-server, or an old one.", "Add it as an OpenAI-compatible server.")
    return props

"""/v1/chat/completions: a request → an answer by any backend, whole or as a stream of events.

Knows the workspace's models and how an answer is followed. What the parts of an answer look like is `replies`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Iterator

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from smolvlm_core.api.conversation import Reader
from smolvlm_core.api.errors import ApiError, body_of, invalid, status_of
from smolvlm_core.api.guard import user_of
from smolvlm_core.api.metrics import Metrics
from smolvlm_core.api.models import Models
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.api.places import Places
from smolvlm_core.api.replies import Writer
from smolvlm_core.api.running import RunningAnswer
from smolvlm_core.api.schemas import ChatRequest
from smolvlm_core.backends.base import Backend
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats
from smolvlm_core.work.slots import Slots

MOST_NEW_TOKENS = 8192
LEAST_TOP_P = 0.01  # 0 means the likeliest token only, as this does
ANSWERS_AT_ONCE = 8  # as many as backends write together. The others wait with their pictures still encoded
HEADERS_AFTER_SECONDS = 2.0  # a stream that is refused within this time has an HTTP status that says so
CLIENT_GONE = 499  # as nginx counts them


class Chat:
    """Answers chat requests. One of a server."""

    def __init__(self, models: Models, reader: Reader, options: ApiOptions, metrics: Metrics, places: Places) -> None:
        self._models, self._reader, self._options = models, reader, options
        self._metrics, self._places = metrics, places
        self._at_once = Slots(ANSWERS_AT_ONCE)

    async def answer(self, request: Request, chat: ChatRequest) -> Response:
        """Raises LensError before an answer begins. A client that leaves stops the model."""
        writer = Writer(chat, self._models.default.key)
        try:
            writer.settings = settings_of(chat)
            user = user_of(request)
            taken = self._places.take(user)
        except LensError as error:
            self._metrics.ended(writer.label, status_of(error))
            raise
        running = RunningAnswer(
            lambda cancel: self._work(chat, writer, user, cancel),
            self._options.timeout_seconds,
            lambda: self._places.give(taken, user, answered=writer.stats is not None),
        )
        try:
            if not chat.stream:
                return await self._whole(request, running, writer)
            first = await self._first_events(running, writer)
        except BaseException:
            running.close()
            raise
        return Stream(running, self._stream(first, running, writer))

    def _work(self, chat: ChatRequest, writer: Writer, user: str, cancel: threading.Event) -> Iterator[Event]:
        """On the answer's own thread."""
        entry = self._models.choose(chat.model or "")
        backend = self._models.backend(entry)
        refuse_what_it_cannot(backend, chat)
        writer.begin(entry.key, backend, self._models.verdict(backend))
        yield Progress("Waiting")
        is_here = bool(backend.files())
        if is_here and not self._at_once.take(cancel, lambda taken: None):
            return
        try:
            writer.asked = self._reader.read(chat, backend.spec, cancel, user)
            chat.messages = []  # what they hold is decoded now
            yield from backend.generate(writer.asked.prompt, writer.settings, cancel)
            writer.revision = backend.revision
        finally:
            if is_here:
                self._at_once.give()

    async def _whole(self, request: Request, running: RunningAnswer, writer: Writer) -> Response:
        try:
            async for event in running.events():
                if event is None:
                    if await request.is_disconnected():
                        running.close()
                        self._metrics.ended(writer.label, CLIENT_GONE)
                        return Response(status_code=CLIENT_GONE)
                    continue
                self._take(event, running, writer)
        except LensError as error:
            self._metrics.ended(writer.label, status_of(error))
            raise
        self._metrics.ended(writer.label, 200)
        return JSONResponse(writer.completion())

    def _take(self, event: Event, running: RunningAnswer, writer: Writer) -> str:
        """Returns the text that can be passed on."""
        if isinstance(event, Delta):
            text = writer.add(event)
            if writer.stopped:
                running.close()  # the model goes on until it is told
            return text
        if isinstance(event, Stats):
            writer.stats = event
            self._metrics.answered(writer.label, event)
            return writer.rest()
        return ""

    async def _first_events(
        self, running: RunningAnswer, writer: Writer
    ) -> tuple[list[str], AsyncIterator[Event | None]]:
        """What can be sent already, and the events that follow. Raises what refuses the question at once."""
        events = running.events()
        ready: list[str] = []
        ends = asyncio.get_running_loop().time() + HEADERS_AFTER_SECONDS
        try:
            async for event in events:
                if event is not None and not isinstance(event, Progress):
                    ready = self._lines(event, running, writer)
                    break
                if asyncio.get_running_loop().time() > ends:
                    break
        except LensError as error:
            self._metrics.ended(writer.label, status_of(error))
            raise
        return [writer.chunk({"role": "assistant", "content": ""}), *ready], events

    def _lines(self, event: Event, running: RunningAnswer, writer: Writer) -> list[str]:
        text = self._take(event, running, writer)
        logprobs = writer.logprobs_of(event)
        return [writer.chunk({"content": text}, logprobs)] if text or logprobs else []

    async def _stream(
        self, first: tuple[list[str], AsyncIterator[Event | None]], running: RunningAnswer, writer: Writer
    ) -> AsyncIterator[str]:
        """Server-sent events."""
        status = CLIENT_GONE
        try:
            ready, events = first
            for line in ready:
                yield line
            async for event in events:
                if event is None or isinstance(event, Progress):
                    yield f": {' '.join(event.text.split()) if event else 'waiting'}\n\n"  # a comment: keeps proxies awake
                    continue
                for line in self._lines(event, running, writer):
                    yield line
            for line in writer.ending():
                yield line
            status = 200
        except LensError as error:
            status = status_of(error)
            yield f"data: {json.dumps(body_of(error))}\n\n"
        finally:
            self._metrics.ended(writer.label, status)


class Stream(StreamingResponse):
    """Stops the model however the response ends."""

    def __init__(self, running: RunningAnswer, events: AsyncIterator[str]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx collects events otherwise
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._running.close()


def settings_of(chat: ChatRequest) -> GenerationSettings:
    """Raises ApiError for values that cannot be served."""
    temperature = chat.temperature or 0.0
    seed = chat.seed if chat.seed is not None and chat.seed >= 0 else None  # clients send -1 for a random one
    try:
        return GenerationSettings(
            max_new_tokens=min(chat.wanted_tokens or GenerationSettings().max_new_tokens, MOST_NEW_TOKENS),
            temperature=temperature,
            top_p=1.0 if chat.top_p is None else max(chat.top_p, LEAST_TOP_P),
            repetition_penalty=chat.repetition_penalty or 1.0,
            seed=seed if seed is not None else (secrets.randbelow(2**31) if temperature else 0),
            top_logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
            json_schema=schema_of(chat),
        )
    except ValueError as error:
        raise invalid(f"{error}.") from error


def schema_of(chat: ChatRequest) -> str:
    """The JSON schema of a `response_format`; "" for plain text."""
    wanted = chat.response_format
    if wanted is None or wanted.type == "text":
        return ""
    return json.dumps({"type": "object"} if wanted.json_schema is None else wanted.json_schema.schema_)


def refuse_what_it_cannot(backend: Backend, chat: ChatRequest) -> None:
    """Raises ApiError for log probabilities or a schema where the backend has none. A server is asked only where that matters."""
    wants_schema = schema_of(chat)
    if chat.tool_choice not in (None, "none", "auto"):
        raise invalid("This server calls no tools.", "Leave tool_choice out.", param="tool_choice")
    if not chat.logprobs and not wants_schema:
        return
    can = backend.capabilities()
    if chat.logprobs and not can.logprobs:
        raise ApiError(400, "no_logprobs", f"{backend.name} gives no log probabilities.", param="logprobs")
    if wants_schema and not can.json_schema:
        hint = "Use a llama.cpp model, or check the answer yourself."
        raise ApiError(400, "no_json_schema", f"{backend.name} cannot follow a schema.", hint, param="response_format")

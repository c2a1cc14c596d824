"""A request whose answer streams (server-sent events of JSON), and which can be stopped at any moment.

Knows HTTP. Does not know what is asked.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from smolvlm_core.errors import BackendError, ContextTooSmall, NoVision
from smolvlm_core.text import valid_text
from smolvlm_core.web import certificates

CONNECT_SECONDS = 10
TOO_MANY_REQUESTS = 429
SILENCE_SECONDS = 600  # a long prompt on a slow machine. A server that ends closes the connection at once


class Cancelled(Exception):
    """The caller's event was set."""


class ServerFault(BackendError):
    """The reason is the server's, not the question's: another server may answer it.

    Attributes:
        status: of its HTTP answer; 0 where there was none.
        retry_after_seconds: how long it asks to be left alone; None where it does not say.
    """

    def __init__(self, message: str, hint: str = "", *, status: int = 0, retry_after_seconds: float | None = None):
        super().__init__(message, hint)
        self.status, self.retry_after_seconds = status, retry_after_seconds


class ServerGone(ServerFault):
    """The connection broke in the middle of an answer."""


def post_stream(
    url: str, body: dict[str, Any], cancel: threading.Event, headers: dict[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """The events of the answer, as they arrive.

    Raises:
        Cancelled: `cancel` was set. The connection is closed, which is how the server learns of it.
        ServerFault: nothing answers there, or the server cannot answer now.
        BackendError: it refused the question.
        ServerGone: the connection broke in the middle of the answer.
    """
    connection = Connection()
    done = threading.Event()
    threading.Thread(target=hang_up_on, args=(cancel, done, connection), daemon=True).start()
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    try:
        with (
            httpx.Client(timeout=timeout, trust_env=False, verify=certificates()) as client,
            client.stream("POST", url, json=body, headers=headers, extensions={"trace": connection.noticed}) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                raise refused(url, answer)
            yield from _events(answer)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
        raise ServerFault(f"Nothing answers at {url}: {error}.", "Start the server, or correct the address.") from error
    except ValueError as error:
        raise ServerFault(f"{url} did not answer with events of JSON: {error}.", "Check the address.") from error
    except (httpx.HTTPError, OSError) as error:
        if cancel.is_set():
            raise Cancelled from None
        raise ServerGone(
            f"The server stopped answering ({type(error).__name__}).", "The text so far is saved. Ask again."
        ) from error
    finally:
        done.set()


class Connection:
    """Keeps the socket, to close it from another thread while a read waits on it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._closed = False

    def noticed(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._closed:
                self.close()

    def close(self) -> None:
        self._closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def hang_up_on(cancel: threading.Event, done: threading.Event, connection: Connection) -> None:
    while not done.is_set():
        if cancel.wait(0.2):
            connection.close()
            return


def _events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        kind, _, data = line.partition(":")
        data = data.strip()
        if kind == "error" or (kind == "data" and data.startswith('{"error"')):
            raise _fault_or_refusal(_message(data), _code(data))
        if kind == "data" and data and data != "[DONE]":
            yield json.loads(data)


def refused(url: str, answer: httpx.Response) -> BackendError:
    """An error response as an error that a user can act on: a ServerFault where the question is not the reason."""
    status = answer.status_code
    if status in (401, 403):
        return ServerFault(f"{url} refused the API key ({status}).", "Enter the right one.", status=status)
    if status == 404:
        hint = "Check the address (it often ends in /v1) and the model's name."
        return ServerFault(f"{url} is not there (404).", hint, status=status)
    after = seconds_of_retry_after(answer.headers.get("Retry-After", ""), time.time())
    return _fault_or_refusal(_message(answer.text) or f"HTTP {status}", status, after)


def _fault_or_refusal(message: str, status: int, retry_after_seconds: float | None = None) -> BackendError:
    """Servers answer some bad questions with 500 too, so what they say counts first."""
    error = error_of(message)
    if type(error) is not BackendError or (status < 500 and status != TOO_MANY_REQUESTS):
        return error
    return ServerFault(Exception.__str__(error), error.hint, status=status, retry_after_seconds=retry_after_seconds)


def seconds_of_retry_after(value: str, now: float) -> float | None:
    """The header's seconds or date, in seconds from `now` (since 1970); None for anything else."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _code(data: str) -> int:
    """The status in an error that comes as an event; 0 where there is none."""
    try:
        said = json.loads(data)
    except ValueError:
        return 0
    error = said.get("error", said) if isinstance(said, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0


def _message(text: str) -> str:
    try:
        said = json.loads(text)
    except ValueError:
        return text.strip()[:300]
    error = said.get("error", said) if isinstance(said, dict) else said
    message = error.get("message", error) if isinstance(error, dict) else error
    return valid_text(str(message))[:300]


NO_VISION_WORDS = (
    "image input is not supported",
    "not a multimodal",
    "does not support image input",
    "does not support images",
    "at most 0 image",
    "missing data required for image",
)
CONTEXT_WORDS = ("context size", "context length", "exceed_context_size", "maximum context")
# What servers say → what to do about it. The phrases are from llama-server (b11434), vLLM and Ollama.
_HINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        NO_VISION_WORDS,
        "The model is served without its vision projector. Start the server with one (llama-server: --mmproj FILE).",
    ),
    (
        CONTEXT_WORDS,
        "Show fewer pictures or frames, start a new conversation, or give the server a larger context.",
    ),
    (("invalid token",), "The model's vocabulary lacks the tokens around pictures. Convert the checkpoint again."),
    (("api key", "api_key", "unauthorized"), "Enter the right API key."),
    (("model", "not found"), "Check the model's name. The server's /v1/models lists the models it has."),
)


def error_of(message: str) -> BackendError:
    lower = message.lower()
    for words, hint in _HINTS[:-1]:
        if any(word in lower for word in words):
            kind = {NO_VISION_WORDS: NoVision, CONTEXT_WORDS: ContextTooSmall}.get(words, BackendError)
            return kind(f"The server refused: {message.rstrip('.')}.", hint)
    words, hint = _HINTS[-1]
    known = all(word in lower for word in words)
    return BackendError(f"The server refused: {message.rstrip('.')}.", hint if known else "Its log may say more.")

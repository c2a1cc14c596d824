"""Errors of a server in words. Does not know how they came: as a status, in an event, or by the connection."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import httpx

from smolvlm_core.backends.remote.values import parse_json, table, whole
from smolvlm_core.errors import BackendError, ContextTooSmall, NoVision
from smolvlm_core.text import valid_text

TOO_MANY_REQUESTS = 429
LONGEST_REST_SECONDS = 3600.0  # a server may not ask to be left alone for longer


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
        return min(float(value.strip()[:20]), LONGEST_REST_SECONDS)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), LONGEST_REST_SECONDS)
    except (ValueError, OverflowError):
        return None


def error_in(data: str) -> BackendError:
    """An error that comes as an event in the middle of an answer."""
    try:
        said = parse_json(data)
    except ValueError:
        said = None
    status = whole(table(table(said).get("error", said)).get("code"))
    return _fault_or_refusal(_message(data), status)


def _message(text: str) -> str:
    try:
        said = parse_json(text)
    except ValueError:
        return valid_text(text.strip())[:300]
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


def without_number(error: Exception) -> str:
    """What the system says of a connection, without its error number: "Connection refused"."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))

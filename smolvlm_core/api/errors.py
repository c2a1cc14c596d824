"""Errors in the form of OpenAI's API, with our hints. Does not know routes."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from smolvlm_core.errors import (
    BackendError,
    ContextTooSmall,
    LensError,
    MediaError,
    ModelError,
    NoVision,
    OutOfMemoryError,
    PromptError,
)
from smolvlm_core.text import valid_text

logger = logging.getLogger(__name__)
ROUTES = "The routes are listed at /openapi.json."
MOST_CHARACTERS = 1000  # of a message: it may repeat what the request said
UPLOAD_ROUTE = "/v1/files"
# The first that matches: (type of error, HTTP status, OpenAI's "type", "code")
_KINDS: tuple[tuple[type[LensError], int, str, str], ...] = (
    (PromptError, 400, "invalid_request_error", "invalid_prompt"),
    (MediaError, 400, "invalid_request_error", "invalid_media"),
    (ContextTooSmall, 400, "invalid_request_error", "context_length_exceeded"),
    (NoVision, 400, "invalid_request_error", "no_vision"),
    (OutOfMemoryError, 503, "server_error", "out_of_memory"),
    (ModelError, 503, "server_error", "model_unavailable"),
    (BackendError, 502, "server_error", "backend_failed"),
    (LensError, 500, "server_error", "failed"),
)


class ApiError(LensError):
    """A request that this API refuses. `param`: the field that is wrong."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status, self.code, self.param, self.headers = status, code, param, headers or {}


def invalid(message: str, hint: str = "", *, param: str | None = None) -> ApiError:
    return ApiError(400, "invalid_value", message, hint, param=param)


def status_of(error: LensError) -> int:
    return error.status if isinstance(error, ApiError) else _kind(error)[1]


def body_of(error: LensError) -> dict[str, Any]:
    """`{"error": …}`. `message` has the hint too, since clients show only that."""
    if isinstance(error, ApiError):
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        code, param = error.code, error.param
    else:
        _, _, kind, code = _kind(error)
        param = None
    return {
        "error": {
            "message": _shortened(str(error)),
            "type": kind,
            "param": param,
            "code": code,
            "hint": _shortened(error.hint) or None,
        }
    }


def _shortened(text: str) -> str:
    text = valid_text(text)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def _is_a_field(part: int | str) -> bool:
    """Of a validation error's place: not the names of types that could have been meant."""
    return isinstance(part, int) or (
        part.islower() and part not in ("body", "str") and "[" not in part and len(part) < 64
    )


def response_of(error: LensError) -> JSONResponse:
    headers = error.headers if isinstance(error, ApiError) else {}
    return JSONResponse(body_of(error), status_of(error), headers)


def install(app: FastAPI) -> None:
    """Answer every error of the routes in that form."""

    @app.exception_handler(LensError)
    def _lens(request: Request, error: LensError) -> JSONResponse:
        return response_of(error)

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = max(
            error.errors(), key=lambda e: len(e["loc"])
        )  # of several that could be meant, the one that fits most
        where = ".".join(str(part) for part in first["loc"] if _is_a_field(part))
        if not where and "json" not in request.headers.get("content-type", ""):
            return response_of(invalid("The body is not JSON.", "Send it with Content-Type: application/json."))
        return response_of(invalid(f"{where or 'The request'}: {first['msg']}.", param=where or None))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:  # a body without a length
            return response_of(too_large())
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        hint = {400: "The body must be JSON in UTF-8, or a form with a file."}.get(error.status_code, ROUTES)
        headers = dict(error.headers or {})
        return response_of(ApiError(error.status_code, code, f"{error.detail.rstrip('.')}.", hint, headers=headers))

    @app.exception_handler(Exception)
    def _bug(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return response_of(unexpected())


def too_large(most_bytes: int | None = None) -> ApiError:
    limit = f"more than {most_bytes / 2**20:.0f} MB" if most_bytes is not None else "more than the limit"
    hint = f"Upload clips to {UPLOAD_ROUTE} and send their file_id, or start the server with a larger --max-body-mb."
    return ApiError(413, "request_too_large", f"The request has {limit}.", hint)


def unexpected() -> ApiError:
    """For a bug, which the log describes."""
    return ApiError(500, "failed", "The request failed unexpectedly.", "The server's log has the details.")


def _kind(error: LensError) -> tuple[type[LensError], int, str, str]:
    return next(kind for kind in _KINDS if isinstance(error, kind[0]))

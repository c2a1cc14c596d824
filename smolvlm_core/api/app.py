"""Assembles the API: everything is handed in, each route is a few lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

import smolvlm_core
from smolvlm_core.api import errors
from smolvlm_core.api.chat import Chat
from smolvlm_core.api.conversation import Reader
from smolvlm_core.api.fetch import Fetcher
from smolvlm_core.api.guard import Guard, user_of
from smolvlm_core.api.metrics import Metrics
from smolvlm_core.api.models import Models
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.api.places import Places
from smolvlm_core.api.schemas import ChatRequest
from smolvlm_core.api.uploads import Uploads
from smolvlm_core.backends.base import Entry
from smolvlm_core.workspace import Workspace


def build_api(workspace: Workspace, default: Entry, options: ApiOptions) -> FastAPI:
    """`default`: the model that answers where a request names none."""
    users = options.users
    uploads, models, places = (
        Uploads(options.max_upload_bytes),
        Models(workspace, default),
        Places(options.max_requests, (lambda: users.limits.questions) if users is not None else None),
    )
    metrics = Metrics(lambda: float(places.taken))
    reader = Reader(uploads, Fetcher(options.url_hosts, options.max_body_bytes))
    chat = Chat(models, reader, options, metrics, places)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        uploads.close()

    app = FastAPI(
        title="SmolVLM Lens",
        version=smolvlm_core.__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, options=options)
    errors.install(app)

    @app.post("/v1/chat/completions", max_body_size=options.max_body_bytes, name="chat")
    async def _chat(request: Request, body: ChatRequest) -> Response:
        return await chat.answer(request, body)

    @app.get("/v1/models", name="models")
    def _models() -> dict[str, Any]:
        return {"object": "list", "data": [models.as_json(entry) for entry in models.entries()]}

    @app.get("/v1/models/{name:path}", name="model")
    def _model(name: str) -> dict[str, Any]:
        found = next((entry for entry in models.entries() if entry.key == name), None)
        if found is None:
            raise errors.ApiError(404, "model_not_found", f"There is no model {name!r}.", "See /v1/models.")
        return models.as_json(found)

    @app.api_route("/health", methods=["GET", "HEAD"], name="health")
    def _health() -> JSONResponse:
        status = models.backend(models.default).status()
        state = {"loading": "loading", "failed": "failed"}.get(status.state, "ok")
        body = {"status": state, "model": default.key, "detail": status.text, "requests": places.taken}
        return JSONResponse(body, 200 if state == "ok" else 503)

    @app.get("/metrics", name="metrics")
    def _metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.post(errors.UPLOAD_ROUTE, max_body_size=options.max_form_bytes, name="upload")
    async def _upload(request: Request, file: UploadFile) -> dict[str, Any]:
        added = await run_in_threadpool(uploads.add, file.file, file.filename or "file", user_of(request))
        return added.as_json()

    @app.get("/v1/files", name="files")
    def _files(request: Request) -> dict[str, Any]:
        found = uploads.all(user_of(request))
        return {"object": "list", "data": [upload.as_json() for upload in found], "has_more": False}

    @app.get("/v1/files/{identity}", name="file")
    def _file(request: Request, identity: str) -> dict[str, Any]:
        return uploads.find(identity, user_of(request)).as_json()

    @app.delete("/v1/files/{identity}", name="delete")
    def _delete(request: Request, identity: str) -> dict[str, Any]:
        uploads.remove(identity, user_of(request))
        return {"id": identity, "object": "file", "deleted": True}

    return app

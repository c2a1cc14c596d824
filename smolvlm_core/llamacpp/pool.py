"""llama-server processes as resources of the pool: one for each pair of GGUF files.

Knows how pictures are cut, since that is set when a server starts. Does not know prompts.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import Literal

from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.work.report import Report

# How a server cuts pictures: "tiles" as SmolVLM2 does with pictures, "frames" into one tile and an overview.
Cut = Literal["tiles", "frames"]


class ServerLoader:
    """Starts one llama-server: see `smolvlm_core.work.pool.Loader`. The variant is the `Cut`.

    One model has one server: for the other cut it is restarted, which takes about a second and no more memory than one.
    Each start has a new API key, so that no other user or program of this machine can use the server.
    """

    def __init__(self, spec: ModelSpec, options: ServerOptions) -> None:
        self.spec, self.options = spec, options
        self.title = f"llama-server · {spec.title}"
        self._cut: str = "tiles"

    def load(self, variant: str | None, report: Report, cancel: threading.Event) -> LlamaServer:
        self._cut = variant or self._cut
        limit = self.spec.geometry.tokens_per_tile if self._cut == "frames" else None
        report("Starting llama-server", None)
        options = replace(self.options, image_max_tokens=limit)
        return LlamaServer.start(options, report, cancel, api_key=secrets.token_urlsafe())

    def serves(self, loaded: LlamaServer, variant: str | None) -> bool:
        return loaded.alive and variant in (None, self._cut)

    def unload(self, loaded: LlamaServer) -> None:
        loaded.stop()

    def shortage_bytes(self) -> int:
        return 0  # llama-server maps its weights from the file, and says itself where they do not fit

    def used_bytes(self, loaded: LlamaServer) -> int:
        return loaded.memory_bytes

    def describe(self, loaded: LlamaServer) -> str:
        build, memory = loaded.program.short_version, describe_bytes(loaded.memory_bytes)
        return f"llama-server {build}, {memory}, started in {loaded.start_seconds:.1f}\u00a0s"

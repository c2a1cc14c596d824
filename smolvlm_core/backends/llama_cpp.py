"""Answers with llama.cpp: a llama-server that this app starts and shares.

Knows pairs of GGUF files and the pool. The request itself is `remote.llama_completion`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from smolvlm_core.backends.base import Capabilities, Cause, Entry, Status
from smolvlm_core.backends.checkpoint import READS_FROM_PARAMETERS, file_state
from smolvlm_core.backends.cold import HasCaches
from smolvlm_core.backends.gguf_causes import causes_in_files, clips_have_overviews
from smolvlm_core.backends.llama_run import LlamaRun, cut_for
from smolvlm_core.backends.queue import Start, follow
from smolvlm_core.backends.status import status_of
from smolvlm_core.errors import ModelError, NoVision
from smolvlm_core.llamacpp.gguf import find_pairs, find_projector, read_gguf, spec_of
from smolvlm_core.llamacpp.pool import ServerLoader
from smolvlm_core.llamacpp.programs import find_server
from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions, check_files
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.work.pool import Handle, Pool

logger = logging.getLogger(__name__)
SLOT_BYTES = 512 * 2**20  # of key-value cache; llama-server allocates all of it when it starts
MOST_SLOTS = 4
NO_PROJECTOR = "No projector: this is the text model alone. It sees nothing."


class LlamaCppBackend(HasCaches):
    """A pair of GGUF files run by llama-server. All backends of one pair share its server."""

    kind = "llama.cpp"

    def __init__(self, spec: ModelSpec, options: ServerOptions, *, pool: Pool) -> None:
        self.spec, self.options, self._pool = spec, options, pool
        self.name = f"{spec.title} · llama.cpp{'' if options.projector else ', no projector'}"
        self._revision = options.text.name
        if options.projector is None:
            self.note = NO_PROJECTOR
            self.warning = (
                f"{spec.title} has no vision projector. Served like this, it would answer fluently about pictures that it never "
                "saw. The app therefore refuses pictures here. Add it again on the Backends page with its `mmproj` file, or "
                "convert the checkpoint, which creates both files."
            )

    @property
    def handle(self) -> Handle[LlamaServer]:
        return self._pool.get(self.options, lambda: ServerLoader(self.spec, self.options))

    def identity(self) -> str:
        return " ".join(
            [*map(file_state, self.files()), str(self.options.context_tokens), _build(self.options.program)]
        )

    def capabilities(self) -> Capabilities:
        sees = self.options.projector is not None
        return Capabilities(
            images=sees,
            video=sees,
            streaming=True,
            context_tokens=self.options.context_tokens,
            logprobs=True,
            json_schema=True,
        )

    @property
    def revision(self) -> str:
        if (handle := self._pool.peek(self.options)) is not None and handle.loaded is not None:
            self._revision = f"{self.options.text.name}, llama.cpp {handle.loaded.program.short_version}"
        return self._revision  # also after the server was stopped

    def files(self) -> tuple[Path, ...]:
        return (self.options.text, *([self.options.projector] if self.options.projector else []))

    def describe(self) -> str:
        size = f"{self.spec.parameters / 1e6:,.0f} M parameters"
        return f"{size}, with its projector. {self.spec.describe_costs()}." if self.options.projector else f"{size}."

    @property
    def reads_text(self) -> bool:
        return self.spec.parameters >= READS_FROM_PARAMETERS

    def status(self) -> Status:
        return status_of(self._pool.peek(self.options))

    def preload(self) -> None:
        self.handle.preload()

    def retry(self) -> None:
        self.handle.retry()

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """Start the server, or restart it where it cuts pictures another way."""

        def start(handle: Handle[LlamaServer]) -> Start:
            return Start(lambda report: handle.ensure(report, cancel, cut_for(prompt)), cancel)

        return follow(lambda: self.handle, start, cancel)

    @property
    def load_seconds(self) -> float | None:
        handle = self._pool.peek(self.options)
        return handle.load_seconds if handle is not None else None

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`."""
        if prompt.slots and self.options.projector is None:
            raise NoVision(
                f"{self.name}: without its projector this model cannot be shown pictures. Other chat programs would drop them "
                "silently, and it would answer about nothing it has seen.",
                "Add it again with its mmproj file; `python -m smolvlm_core convert` creates both.",
            )
        return follow(
            lambda: self.handle,
            lambda handle: LlamaRun(handle, self.spec, prompt, settings, cancel, cold=self._cold),
            cancel,
        )

    def close(self) -> None:
        """Stop the server, after the answer it may be making."""
        if (handle := self._pool.peek(self.options)) is not None:
            self._pool.release(handle)

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        if unseen == ("clips",):
            yield clips_have_overviews()
        elif not unseen:
            server = self.handle.loaded
            yield from causes_in_files(self.options.text, self.options.projector, server.program if server else None)


def slots_for(context_bytes: int) -> int:
    """How many answers run at once: as many full contexts as `SLOT_BYTES` holds, at least one."""
    return min(max(SLOT_BYTES // max(context_bytes, 1), 1), MOST_SLOTS)


def _build(program: str) -> str:
    try:
        return find_server(program).short_version
    except ModelError:
        return ""


@dataclass(frozen=True, kw_only=True)
class GgufEntry(Entry):
    """A text model's file and its projector. `context_tokens` 0: the model's own. `gpu_layers`, `threads` None: llama-server decides."""

    kind: ClassVar[str] = "gguf"

    text: str
    projector: str = ""
    context_tokens: int = 0
    gpu_layers: int | None = None
    threads: int | None = None

    @property
    def label(self) -> str:
        return f"{self.title} · llama.cpp{'' if self.projector else ', no projector'}"

    def make(self, pool: Pool, precision: str = "") -> LlamaCppBackend:
        try:
            text = read_gguf(Path(self.text))
            projector = read_gguf(Path(self.projector)) if self.projector else None
        except (OSError, ValueError) as error:  # a path that is too long, or none
            raise ModelError(f"{self.title}: {error}.", "Add its files again.") from error
        spec = replace(spec_of(text, projector), key=self.key)
        context = min(self.context_tokens or spec.context_tokens, spec.context_tokens)
        options = ServerOptions(
            text.path,
            projector.path if projector else None,
            context,
            slots=slots_for(spec.kv_bytes_per_token * context),
            gpu_layers=self.gpu_layers,
            threads=self.threads,
        )
        return LlamaCppBackend(replace(spec, context_tokens=context), options, pool=pool)

    def replaces(self, other: Entry) -> bool:
        return super().replaces(other) or (isinstance(other, GgufEntry) and other.text == self.text)

    @classmethod
    def of_files(
        cls,
        text: Path,
        projector: Path | None = None,
        *,
        context_tokens: int = 0,
        gpu_layers: int | None = None,
        threads: int | None = None,
    ) -> GgufEntry:
        """An entry for a text model and its projector: the one given, or a fitting one in the same folder.

        Raises:
            LensError: a file is missing, damaged, of the wrong kind, or the two do not fit.
        """
        check_files(text, projector)
        text = text.expanduser().resolve()
        projector = projector.expanduser().resolve() if projector else find_projector(read_gguf(text))
        return cls(
            key=f"gguf:{text} {projector.name if projector else ''}".strip(),
            title=text.name.removesuffix(".gguf"),
            added=True,
            text=str(text),
            projector=str(projector or ""),
            context_tokens=context_tokens,
            gpu_layers=gpu_layers,
            threads=threads,
        )

    @classmethod
    def discover(cls) -> Iterable[Entry]:
        """SmolVLM pairs in the folders of LM Studio and llama.cpp."""
        return [
            cls(
                key=f"gguf:{text} {projector.name}",
                title=text.name.removesuffix(".gguf"),
                text=str(text),
                projector=str(projector),
            )
            for text, projector in find_pairs()
        ]

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        return cls.of_files(Path(name)) if name.endswith(".gguf") else None

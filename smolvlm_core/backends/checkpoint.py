"""What backends that run a checkpoint on this machine have in common: files, costs, loading, the vision encoder.

Knows checkpoints and the pool. Does not know what runs the text model.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from smolvlm_core.backends.base import Capabilities, Cause, Status
from smolvlm_core.backends.cold import HasCaches
from smolvlm_core.backends.queue import Start, follow
from smolvlm_core.backends.status import status_of
from smolvlm_core.engine.state import EncoderChoice, describe_encoder
from smolvlm_core.errors import ContextTooSmall
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.download import local_folder
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.work.pool import Handle, Pool

READS_FROM_PARAMETERS = 100_000_000  # every published SmolVLM2 reads; the bundled model, of 7 million, does not

MOST_CHARACTERS_A_TOKEN = 128  # the longest token of SmolLM2's vocabulary has 81


class CheckpointBackend(HasCaches):
    """`precision`: of the weights that run the text, as `identity` has it. All backends of one key share what is loaded."""

    def __init__(self, spec: ModelSpec, precision: str, *, pool: Pool) -> None:
        self.spec, self.note, self._precision, self._pool = spec, spec.note, precision, pool
        self.name = f"{spec.title} · {self.kind} {self._short_precision()}"
        self._revision = ""

    @property
    def _key(self) -> tuple[str, ...]:
        """In the pool."""
        return self.spec.weights_id, self._precision

    @property
    @abstractmethod
    def handle(self) -> Handle[Any]: ...

    def _short_precision(self) -> str:
        return self._precision

    def _loaded(self) -> LoadedModel | None:
        """The checkpoint in this process; None before it is loaded."""
        handle = self._peek()
        return handle.loaded if handle is not None else None

    def _peek(self) -> Handle[Any] | None:
        return self._pool.peek(self._key)

    def identity(self) -> str:
        files = self.files() if self.spec.folder is not None else ()
        return " ".join([*self._key, *map(file_state, files)])

    def capabilities(self) -> Capabilities:
        return Capabilities(
            images=True, video=True, streaming=True, context_tokens=self.spec.context_tokens, logprobs=True
        )

    @property
    def revision(self) -> str:
        """The weights' commit on the hub, or their hash; "" before they are loaded."""
        if (loaded := self._loaded()) is not None:
            self._revision = loaded.revision
        return self._revision  # also after the model was released

    def files(self) -> tuple[Path, ...]:
        if not catalog.is_cached(self.spec):
            return ()
        return tuple(sorted(local_folder(self.spec).glob("*.safetensors")))

    @property
    def reads_text(self) -> bool:
        return self.spec.parameters >= READS_FROM_PARAMETERS

    def status(self) -> Status:
        handle = self._peek()
        status = status_of(handle)
        if handle is not None and status.state == "ready" and (line := describe_encoder(handle)):
            return replace(status, text=f"{status.text}. {line}")
        if status.state == "not loaded" and not catalog.is_cached(self.spec):
            return Status(state="not loaded", text="Downloads with your first question", busy=status.busy)
        return status

    def vision_encoders(self) -> tuple[str, ...]:
        return choice.names() if (choice := self._encoder()) is not None else ()

    @property
    def wanted_encoder(self) -> str:
        return choice.wanted if (choice := self._encoder()) is not None else ""

    def want_encoder(self, name: str) -> None:
        if (choice := self._encoder()) is not None:
            choice.want(name)

    def _encoder(self) -> EncoderChoice | None:
        handle, loaded = self._peek(), self._loaded()
        return EncoderChoice(handle, loaded) if handle is not None and loaded is not None else None

    def preload(self) -> None:
        if catalog.is_cached(self.spec):
            self.handle.preload()

    def retry(self) -> None:
        self.handle.retry()

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        def start(handle: Handle[Any]) -> Start:
            return Start(lambda report: handle.ensure(report, cancel), cancel)

        return follow(lambda: self.handle, start, cancel)

    @property
    def load_seconds(self) -> float | None:
        handle = self._peek()
        return handle.load_seconds if handle is not None else None

    def refuse_if_too_long(self, prompt: Prompt) -> None:
        """Raises ContextTooSmall where the pictures or the text alone do not fit. Does not tokenize: that can take long."""
        if len(prompt.text) > MOST_CHARACTERS_A_TOKEN * self.spec.context_tokens:
            raise ContextTooSmall(
                f"The conversation has {len(prompt.text):,} characters; {self.spec.title} has room for "
                f"{self.spec.context_tokens:,} tokens.",
                "Shorten it, or start a new conversation.",
            )
        images = self.spec.geometry.image_tokens(prompt.slots)
        if images >= self.spec.context_tokens:
            raise ContextTooSmall(
                f"The pictures alone take {images:,} tokens; {self.spec.title} has room for {self.spec.context_tokens:,}.",
                "Show fewer pictures or frames.",
            )

    def close(self) -> None:
        if (handle := self._peek()) is not None:
            self._pool.release(handle)

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        if verdict == "blind":
            again = "." if self.spec.folder is not None else f": `hf download {self.spec.repo_id} --force-download`"
            yield Cause(
                "the weights of its vision encoder or projector are damaged, or of another checkpoint: it was given the right "
                "prompt.",
                f"Download the checkpoint again{again}",
            )


def file_state(path: Path) -> str:
    """A file's path and time of change: a verdict or hash holds until it changes."""
    try:
        return f"{path} {path.stat().st_mtime_ns}"
    except OSError:
        return str(path)

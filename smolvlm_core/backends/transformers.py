"""Answers with transformers, in this process: weights from the pool, one answer after another on their worker thread.

Knows checkpoints and the pool. How an answer is computed is `smolvlm_core.engine`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, get_args

from smolvlm_core.backends.base import Backend, Capabilities, Cause, Entry, Status
from smolvlm_core.backends.queue import Start, follow
from smolvlm_core.backends.status import status_of
from smolvlm_core.engine import decode_choice
from smolvlm_core.engine.memory import predict
from smolvlm_core.engine.run import Run
from smolvlm_core.engine.state import EncoderChoice, describe_encoder, features_of
from smolvlm_core.errors import ContextTooSmall, ModelError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.download import local_folder
from smolvlm_core.models.load import Dtype, LoadedModel, ModelLoader
from smolvlm_core.models.machine import GIB, likely_device
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.work.pool import Handle, Pool

DTYPE_LABELS: dict[str, str] = {"bfloat16": "bf16", "float32": "fp32"}
READS_FROM_PARAMETERS = 100_000_000  # every published SmolVLM2 reads; the bundled model, of 7 million, does not


class TransformersBackend(Backend):
    """A checkpoint run by transformers. All backends of one checkpoint and dtype share its weights and worker."""

    kind = "transformers"

    def __init__(self, spec: ModelSpec, dtype: Dtype = "bfloat16", *, pool: Pool) -> None:
        self.spec, self.dtype, self.note, self._pool = spec, dtype, spec.note, pool
        self.name = f"{spec.title} · transformers {DTYPE_LABELS[dtype]}"
        self._revision = ""

    @property
    def _key(self) -> tuple[str, str]:
        return self.spec.weights_id, self.dtype

    @property
    def handle(self) -> Handle[LoadedModel]:
        return self._pool.get(self._key, lambda: ModelLoader(self.spec, self.dtype, decode_choice.prepare))

    def identity(self) -> str:
        return " ".join([self.spec.weights_id, self.dtype, *map(file_state, self._local_weights())])

    def capabilities(self) -> Capabilities:
        return Capabilities(images=True, video=True, streaming=True, context_tokens=self.spec.context_tokens)

    @property
    def revision(self) -> str:
        """The weights' commit on the hub, or their hash; "" before they are loaded."""
        if (handle := self._pool.peek(self._key)) is not None and handle.loaded is not None:
            self._revision = handle.loaded.revision
        return self._revision  # also after the model was released

    def files(self) -> tuple[Path, ...]:
        if not catalog.is_cached(self.spec):
            return ()
        return tuple(sorted(local_folder(self.spec).glob("*.safetensors")))

    def describe(self) -> str:
        size = f"{self.spec.parameters / 1e6:,.0f} M parameters"
        here = (
            "on this machine"
            if catalog.is_cached(self.spec)
            else f"{self.spec.weights_bytes / GIB:.1f} GiB to download"
        )
        return f"{size}, {here}. {self.spec.describe_costs()}."

    @property
    def reads_text(self) -> bool:
        return self.spec.parameters >= READS_FROM_PARAMETERS

    def status(self) -> Status:
        handle = self._pool.peek(self._key)
        status = status_of(handle)
        if handle is not None and status.state == "ready" and (line := describe_encoder(handle)):
            status = replace(status, text=f"{status.text}. {line}")
        if status.state == "not loaded" and not catalog.is_cached(self.spec):
            return Status(state="not loaded", text="Downloads with your first question", busy=status.busy)
        return status

    def _encoder(self) -> EncoderChoice | None:
        handle = self._pool.peek(self._key)
        return EncoderChoice(handle, handle.loaded) if handle is not None and handle.loaded is not None else None

    def vision_encoders(self) -> tuple[str, ...]:
        return choice.names() if (choice := self._encoder()) is not None else ()

    @property
    def wanted_encoder(self) -> str:
        return choice.wanted if (choice := self._encoder()) is not None else ""

    def want_encoder(self, name: str) -> None:
        if (choice := self._encoder()) is not None:
            choice.want(name)

    def preload(self) -> None:
        if catalog.is_cached(self.spec):
            self.handle.preload()

    def retry(self) -> None:
        self.handle.retry()

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        return follow(lambda: self.handle, lambda handle: Start(handle.ensure, cancel), cancel)

    @property
    def load_seconds(self) -> float | None:
        handle = self._pool.peek(self._key)
        return handle.loaded.load_seconds if handle is not None and handle.loaded is not None else None

    def memory_bytes(self, prompt: Prompt, settings: GenerationSettings) -> int:
        number_bytes = 4 if self.dtype == "float32" else 2
        handle = self._pool.peek(self._key)
        loaded = handle.loaded if handle is not None else None
        device = loaded.device if loaded is not None else likely_device()
        weights = loaded.memory_bytes if loaded is not None else self.spec.weights_bytes * number_bytes // 2
        answer = predict(self.spec, prompt, settings, device, number_bytes)
        return weights + answer if answer else 0

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`. A consumer that stops listening cancels the run."""
        self._refuse_if_too_long(prompt)
        features = features_of(self._pool)
        return follow(
            lambda: self.handle, lambda handle: Run(handle, self.spec, prompt, settings, cancel, features), cancel
        )

    def close(self) -> None:
        if (handle := self._pool.peek(self._key)) is not None:
            self._pool.release(handle)

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        if verdict == "blind":
            again = "." if self.spec.folder is not None else f": `hf download {self.spec.repo_id} --force-download`"
            yield Cause(
                "the weights of its vision encoder or projector are damaged, or of another checkpoint: transformers gave "
                "them the right prompt.",
                f"Download the checkpoint again{again}",
            )

    def _refuse_if_too_long(self, prompt: Prompt) -> None:
        images = self.spec.geometry.image_tokens(prompt.slots)
        if images >= self.spec.context_tokens:
            raise ContextTooSmall(
                f"The pictures alone take {images} tokens; {self.spec.title} has room for {self.spec.context_tokens}.",
                "Show fewer pictures or frames.",
            )

    def _local_weights(self) -> list[Path]:
        return sorted(self.spec.folder.glob("*.safetensors")) if self.spec.folder is not None else []


def file_state(path: Path) -> str:
    """A file's path and time of change: a verdict or hash holds until it changes."""
    try:
        return f"{path} {path.stat().st_mtime_ns}"
    except OSError:
        return str(path)


@dataclass(frozen=True, kw_only=True)
class CheckpointEntry(Entry):
    """A model of the catalogue, by its key, or a checkpoint folder, by its path."""

    kind: ClassVar[str] = "transformers"
    precisions: ClassVar[tuple[str, ...]] = get_args(Dtype)

    @property
    def label(self) -> str:
        return self.title

    def label_of(self, precision: str) -> str:
        return f"{self.title} · transformers {DTYPE_LABELS[precision]}"

    @property
    def is_on_this_machine(self) -> bool:
        try:
            return catalog.is_cached(catalog.find(self.key))
        except ModelError:
            return True  # a folder that is gone: `make` says so

    def make(self, pool: Pool, precision: str = "") -> TransformersBackend:
        dtype: Dtype = "float32" if precision == "float32" else "bfloat16"
        return TransformersBackend(replace(catalog.find(self.key), title=self.title), dtype, pool=pool)

    def release(self, pool: Pool) -> None:
        for dtype in self.precisions:  # by key: its folder may be gone
            if (handle := pool.peek((self.key, dtype))) is not None:
                pool.release(handle)

    @classmethod
    def of(cls, spec: ModelSpec, *, added: bool = False) -> CheckpointEntry:
        return cls(key=spec.key, title=spec.title, added=added)

    @classmethod
    def discover(cls) -> Iterable[Entry]:
        """Checkpoints in the Hugging Face cache that are not in the catalogue."""
        return [cls.of(spec) for spec in catalog.cached_checkpoints()]

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        return cls.of(catalog.find(name)) if Path(name).expanduser().is_dir() else None

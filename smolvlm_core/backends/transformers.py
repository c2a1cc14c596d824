"""Answers with transformers, in this process: weights from the pool, one answer after another on their worker thread.

Knows checkpoints and the pool. How an answer is computed is `smolvlm_core.engine`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, get_args

from smolvlm_core.backends.base import Entry
from smolvlm_core.backends.checkpoint import CheckpointBackend
from smolvlm_core.backends.queue import follow
from smolvlm_core.engine import decode_choice
from smolvlm_core.engine.memory import predict
from smolvlm_core.engine.run import Run
from smolvlm_core.engine.state import features_of
from smolvlm_core.errors import ModelError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import Dtype, LoadedModel, ModelLoader
from smolvlm_core.models.machine import GIB, likely_device
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.work.pool import Handle, Pool

DTYPE_LABELS: dict[str, str] = {"bfloat16": "bf16", "float32": "fp32"}


class TransformersBackend(CheckpointBackend):
    """A checkpoint run by transformers. All backends of one checkpoint and dtype share its weights and worker."""

    kind = "transformers"

    def __init__(self, spec: ModelSpec, dtype: Dtype = "bfloat16", *, pool: Pool) -> None:
        self.dtype: Dtype = dtype
        super().__init__(spec, dtype, pool=pool)

    def _short_precision(self) -> str:
        return DTYPE_LABELS[self.dtype]

    @property
    def handle(self) -> Handle[LoadedModel]:
        return self._pool.get(self._key, lambda: ModelLoader(self.spec, self.dtype, decode_choice.prepare))

    def describe(self) -> str:
        size = f"{self.spec.parameters / 1e6:,.0f} M parameters"
        here = (
            "on this machine"
            if catalog.is_cached(self.spec)
            else f"{self.spec.weights_bytes / GIB:.1f} GiB to download"
        )
        return f"{size}, {here}. {self.spec.describe_costs()}."

    @property
    def load_seconds(self) -> float | None:
        loaded = self._loaded()
        return loaded.load_seconds if loaded is not None else None

    def memory_bytes(self, prompt: Prompt, settings: GenerationSettings) -> int:
        number_bytes = 4 if self.dtype == "float32" else 2
        loaded = self._loaded()
        device = loaded.device if loaded is not None else likely_device()
        weights = loaded.memory_bytes if loaded is not None else self.spec.weights_bytes * number_bytes // 2
        answer = predict(self.spec, prompt, settings, device, number_bytes)
        return weights + answer if answer else 0

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`. A consumer that stops listening cancels the run."""
        self.refuse_if_too_long(prompt)
        features = features_of(self._pool)
        return follow(
            lambda: self.handle,
            lambda handle: Run(handle, self.spec, prompt, settings, cancel, features, cold=self._cold),
            cancel,
        )


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

"""Answers with both: pictures by the vision encoder in this process, words by llama.cpp in another.

Knows checkpoints and the pool. How an answer is made is `run`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from smolvlm_core.backends.base import Entry
from smolvlm_core.backends.checkpoint import CheckpointBackend
from smolvlm_core.backends.hybrid.loader import HybridLoader, HybridModel
from smolvlm_core.backends.hybrid.run import HybridRun
from smolvlm_core.backends.hybrid.self_test import HybridSelfTest
from smolvlm_core.backends.queue import follow
from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.engine.state import features_of
from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.text import client
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Stats
from smolvlm_core.work.pool import Handle, Pool

TEXT_TYPES = ("F16", "Q8_0")
PREFIX = "hybrid:"


class HybridBackend(CheckpointBackend):
    """A checkpoint whose text model llama.cpp runs. All backends of one checkpoint and text type share both halves."""

    kind = "hybrid"

    def __init__(self, spec: ModelSpec, text_type: str = "F16", *, pool: Pool) -> None:
        self.text_type = text_type
        super().__init__(spec, text_type, pool=pool)

    @property
    def _key(self) -> tuple[str, ...]:
        return self.spec.weights_id, self.kind, self.text_type

    @property
    def handle(self) -> Handle[HybridModel]:
        return self._pool.get(self._key, lambda: HybridLoader(self.spec, self.text_type))

    def _loaded(self) -> LoadedModel | None:
        handle = self._peek()
        return handle.loaded.eyes if handle is not None and handle.loaded is not None else None

    @property
    def revision(self) -> str:
        """The checkpoint's revision and the text model's type; "" before they are loaded."""
        return f"{super().revision}, text {self.text_type}" if super().revision else ""

    def describe(self) -> str:
        return f"Pictures in this app, text by llama.cpp. {self.spec.describe_costs()}."

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`. Answers of several askers run together. One that stops listening cancels its own."""
        self.refuse_if_too_long(prompt)
        return self._generate(prompt, settings, cancel)

    def _generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        runs: list[HybridRun] = []

        def make(handle: Handle[HybridModel]) -> HybridRun:
            features = features_of(self._pool)
            runs.append(HybridRun(handle, self.spec, prompt, settings, cancel, features, cold=self._cold).hold())
            return runs[-1]

        done = False
        try:
            for event in follow(lambda: self.handle, make, cancel):
                if not (isinstance(event, Stats) and event.stop_reason == "end"):  # handed to the text model
                    done = isinstance(event, Stats)
                    yield event
            if not done:
                for event in runs[-1].answer():
                    done = isinstance(event, Stats)
                    yield event
        finally:
            if not done:
                cancel.set()
            for run in runs:
                run.let_go()


@dataclass(frozen=True, kw_only=True)
class HybridEntry(Entry):
    """Comes with a checkpoint on this machine, where llama-cpp-python is installed. `checkpoint`: the key of its entry."""

    kind: ClassVar[str] = "hybrid"
    precisions: ClassVar[tuple[str, ...]] = TEXT_TYPES

    checkpoint: str

    def label_of(self, precision: str) -> str:
        return f"{self.title} · hybrid {precision}"

    def make(self, pool: Pool, precision: str = "") -> HybridBackend:
        spec = replace(catalog.find(self.checkpoint), title=self.title)
        return HybridBackend(spec, precision if precision in TEXT_TYPES else TEXT_TYPES[0], pool=pool)

    @classmethod
    def companion_of(cls, entry: Entry) -> Entry | None:
        if isinstance(entry, CheckpointEntry) and client.is_installed() and entry.is_on_this_machine:
            return cls(key=f"{PREFIX}{entry.key}", title=entry.title, checkpoint=entry.key)
        return None

    @property
    def self_test(self) -> HybridSelfTest | None:
        try:
            return HybridSelfTest(catalog.find(self.checkpoint), self.make)
        except ModelError:
            return None  # its folder is gone

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """`hybrid:MODEL` or `hybrid:FOLDER`. Raises ModelError."""
        if not name.startswith(PREFIX):
            return None
        spec = catalog.find(name.removeprefix(PREFIX))
        return cls(key=f"{PREFIX}{spec.key}", title=spec.title, checkpoint=spec.key)

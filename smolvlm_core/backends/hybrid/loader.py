"""Loads both halves: the vision encoder and the embeddings in this process, the text model in another. Knows no prompts."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.text.client import TextModel
from smolvlm_core.llamacpp.text.messages import TextOptions
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.download import local_folder
from smolvlm_core.models.load import DEVICE_NAMES, LoadedModel, best_device, freeze, load, release
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.paths import default_gguf_folder
from smolvlm_core.work.report import Report

PARALLEL = 8  # answers at once
CELL_BYTES = (
    512 * 2**20
)  # of the key-value cache that conversations share; one full context fits even where it is larger
KEPT_BYTES = 512 * 2**20  # of conversations that are not in that cache


@dataclass(kw_only=True)
class HybridModel:
    """`eyes`: the checkpoint without the layers of its text model."""

    eyes: LoadedModel
    text: TextModel


class HybridLoader:
    """See `smolvlm_core.work.pool.Loader`. Converts the text model to GGUF on first use."""

    def __init__(self, spec: ModelSpec, text_type: str) -> None:
        self.spec, self.text_type = spec, text_type
        self.title = f"{spec.title} · hybrid"

    def load(self, variant: str | None, report: Report, cancel: threading.Event) -> HybridModel:
        path = convert_text(self.spec, self.text_type, report)
        text = TextModel.launch(text_options(self.spec, path))  # loads while torch starts
        try:
            report("Starting torch", None)
            eyes = load(self.spec, "bfloat16", best_device(), report, layers=False)
            freeze()
            text.wait_until_ready(report, cancel)
        except BaseException:
            text.stop()
            raise
        return HybridModel(eyes=eyes, text=text)

    def serves(self, loaded: HybridModel, variant: str | None) -> bool:
        return loaded.text.alive

    def unload(self, loaded: HybridModel) -> None:
        loaded.text.stop()
        release(loaded.eyes)

    def shortage_bytes(self) -> int:
        return self.spec.memory_bytes - int(psutil.virtual_memory().available)

    def used_bytes(self, loaded: HybridModel) -> int:
        return loaded.eyes.memory_bytes + loaded.text.memory_bytes

    def describe(self, loaded: HybridModel) -> str:
        device, memory = DEVICE_NAMES[loaded.eyes.device], describe_bytes(self.used_bytes(loaded))
        version = loaded.text.ready.version if loaded.text.ready is not None else ""
        return f"pictures on {device}, text {self.text_type} by llama-cpp-python {version}, {memory}"


def text_options(spec: ModelSpec, path: Path) -> TextOptions:
    fitting = CELL_BYTES // spec.kv_bytes_per_token
    return TextOptions(
        text=str(path),
        context_tokens=spec.context_tokens,
        cells=min(max(fitting, spec.context_tokens), 4 * spec.context_tokens),
        parallel=PARALLEL,
        threads=os.cpu_count() or 1,
        kept_bytes=KEPT_BYTES,
    )


def convert_text(spec: ModelSpec, text_type: str, report: Report) -> Path:
    """The text model's GGUF, converted where it is not on disk. Raises ModelError."""
    folder = local_folder(spec, report)
    name = folder.name if spec.folder is not None else spec.key
    wanted = [] if text_type == "F16" else [text_type]
    return convert(folder, default_gguf_folder(folder, name), wanted, "f16", report, name).texts[-1].path

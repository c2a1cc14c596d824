"""Weights in memory: one copy of each model in the process, loaded once, shared, released when memory is short.

Knows how to fetch and load a checkpoint. Does not know prompts or pages. torch is imported inside functions, on the
worker's thread, so that a page can be drawn before.
"""

from __future__ import annotations

import gc
import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from smolvlm_core.errors import LensError, ModelError, OutOfMemoryError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.machine import GIB, hub_reachable
from smolvlm_core.work.worker import Worker

Report = Callable[[str, float | None], None]
Dtype = Literal["bfloat16", "float32"]
State = Literal["not loaded", "loading", "ready", "failed"]
HASHED_WEIGHTS_BYTES = 64 * 2**20  # larger ones would take seconds at each load
# from_pretrained changes torch's default dtype for the whole process while it builds a model, and the vision encoder
# computes positions in the default dtype: neither may happen during the other.
DEFAULT_DTYPE = threading.Lock()
# torch's threads (libgomp, on Linux) wait for each other by spinning: on a busy machine they take the cores from those they
# wait for. With a shorter spin the bundled model, on two cores, said 72 tokens a second instead of 4 beside another busy
# program; it costs a fifth in the app on a quiet machine (82 instead of 105) and nothing on the command line. Read once,
# when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt"]


@dataclass
class LoadedModel:
    """A model ready to answer. Touched by its worker's thread only."""

    model: Any
    tokenizer: Any
    image_processor: Any
    device: str
    revision: str
    load_seconds: float
    memory_bytes: int


def load(spec: ModelSpec, dtype: Dtype, device: str, report: Report) -> LoadedModel:
    """Fetch a checkpoint where needed and load it.

    `AutoProcessor` is not used: it needs torchvision, which the CPU build of torch cannot import everywhere; the
    image processor and the tokenizer by themselves give the same input.

    Raises:
        ModelError: it cannot be fetched, is incomplete, or is of another kind.
        OutOfMemoryError: the weights do not fit.
    """
    folder = local_folder(spec, report)
    report("Loading weights", None)
    began = time.perf_counter()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # `report` tells how far it is
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        image_processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
        with DEFAULT_DTYPE:
            model = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                attn_implementation="sdpa",
                device_map=_device_map(device),
                trust_remote_code=False,
                use_safetensors=True,
            ).eval()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(spec) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if "out of memory" in str(error).lower():
            raise _too_large(spec) from error
        raise ModelError(
            f"{spec.title} cannot be loaded from {folder}: {error}", "Download the checkpoint's files again."
        ) from error
    return LoadedModel(
        model,
        tokenizer,
        image_processor,
        device,
        _revision_of(spec, folder),
        time.perf_counter() - began,
        int(model.get_memory_footprint()),
    )


def local_folder(spec: ModelSpec, report: Report = lambda text, share: None) -> Path:
    """Where a model's files lie on this machine, fetched first where needed. Raises ModelError."""
    return spec.folder or _download(spec, report)


def best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _device_map(device: str) -> str | dict[str, str]:
    return "auto" if device == "cuda" else {"": device}


def _download(spec: ModelSpec, report: Report) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    report(f"Looking for {spec.title}", None)
    try:
        if not hub_reachable():
            return Path(
                snapshot_download(spec.repo_id, revision=spec.revision, allow_patterns=_FILES, local_files_only=True)
            )
        return Path(
            snapshot_download(
                spec.repo_id, revision=spec.revision, allow_patterns=_FILES, tqdm_class=_progress_bar(spec, report)
            )
        )
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{spec.title} is not on this machine and the model hub cannot be reached.",
            "Go online, choose the bundled model, or give the folder of a downloaded checkpoint.",
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"The model hub refused {spec.repo_id}: {error}", "Check the name and your access, or try again later."
        ) from error
    except OSError as error:
        raise ModelError(
            f"Downloading {spec.title} failed: {error}",
            "Check the connection and the free disk space; what was fetched is kept.",
        ) from error


def _progress_bar(spec: ModelSpec, report: Report) -> type:
    from tqdm import tqdm

    class DownloadBar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
        """Reports bytes instead of drawing; the hub client opens one for bytes and one for files."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            self.n = kwargs.get("initial", 0) or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self._bytes and self.n > 2**20:
                done = min(1.0, self.n / spec.weights_bytes)
                report(f"Downloading {spec.title}: {self.n / GIB:.2f} of {spec.weights_bytes / GIB:.2f} GiB", done)
            return None

    return DownloadBar


def _revision_of(spec: ModelSpec, folder: Path) -> str:
    """The commit on the hub (the cache names a snapshot's folder by it); for a folder, the hash of small weights."""
    if spec.folder is None:
        return folder.name[:12]
    if spec.weights_bytes > HASHED_WEIGHTS_BYTES:
        return f"folder {folder.name}"
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()[:12]}"


def _too_large(spec: ModelSpec) -> OutOfMemoryError:
    need = f"{spec.memory_bytes / GIB:.1f} GiB"
    return OutOfMemoryError(
        f"{spec.title} does not fit in memory (it needs about {need}).",
        "Choose a smaller model, or close other programs.",
    )


class ModelHandle:
    """One model of the pool: where it stands, its worker, and the weights once loaded."""

    def __init__(self, spec: ModelSpec, dtype: Dtype) -> None:
        self.spec, self.dtype = spec, dtype
        self.worker = Worker(f"model-{spec.title}")
        self.state: State = "not loaded"
        self.status_text = ""
        self.status_fraction: float | None = None
        self.error: LensError | None = None
        self.loaded: LoadedModel | None = None
        self.kept: object = None  # the backend's own, between two runs; touched on the worker's thread only
        self.last_used = time.monotonic()

    def ensure_loaded(self, report: Report) -> LoadedModel:
        """Call on the worker's thread only. A failed load is tried again by the next call."""
        self.last_used = time.monotonic()
        if self.loaded is None:
            self._load(report)
        assert self.loaded is not None
        return self.loaded

    def _load(self, report: Report) -> None:
        def tell(text: str, fraction: float | None) -> None:
            self.status_text, self.status_fraction = text, fraction
            report(text, fraction)

        self.state, self.error = "loading", None
        tell("Starting torch", None)
        try:
            device = best_device()
            POOL.make_room(self, device)
            self.loaded = load(self.spec, self.dtype, device, tell)
        except LensError as error:
            self.state, self.error = "failed", error
            raise
        except Exception as error:
            self.state = "failed"
            self.error = ModelError(f"{self.spec.title} failed to load: {error!r}.", "The log has the details.")
            raise
        gc.collect()
        gc.freeze()  # torch and the model stay: later collections need not walk through them (0.2 s each)
        self.state = "ready"

    def reset(self) -> None:
        """Forget a failed load, so that it is tried again."""
        if self.state == "failed":
            self.state, self.error = "not loaded", None

    def preload(self) -> None:
        """Start loading in the background; errors are kept in `error` and come up again with the first question."""

        def work() -> None:
            try:
                self.ensure_loaded(lambda *_: None)
            except LensError:
                pass  # kept in self.error, which the sidebar shows

        if self.state == "not loaded" and not self.worker.busy:
            self.worker.submit(work)


class ModelPool:
    """Handles by weights and dtype. One copy of each model, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: dict[tuple[str, Dtype], ModelHandle] = {}

    def get(self, spec: ModelSpec, dtype: Dtype = "bfloat16") -> ModelHandle:
        with self._lock:
            key = (spec.weights_id, dtype)
            handle = self._handles.get(key)
            if handle is None:
                handle = self._handles[key] = ModelHandle(spec, dtype)
            handle.last_used = time.monotonic()
            return handle

    def peek(self, spec: ModelSpec, dtype: Dtype) -> ModelHandle | None:
        """Without counting as a use."""
        with self._lock:
            return self._handles.get((spec.weights_id, dtype))

    def loaded(self) -> list[ModelHandle]:
        with self._lock:
            return [h for h in self._handles.values() if h.loaded is not None]

    def make_room(self, wanted: ModelHandle, device: str) -> None:
        """Release idle models, the least recently used first, until the wanted one fits or none is left."""
        need = wanted.spec.memory_bytes * (2 if wanted.dtype == "float32" else 1)
        while _free_memory(device) < need:
            idle = sorted((h for h in self.loaded() if h is not wanted), key=lambda h: h.last_used)
            if not any(self.release(handle) for handle in idle):
                return  # let the load itself say whether it fits: the estimate is on the safe side

    def release(self, handle: ModelHandle) -> bool:
        """Drop a model's weights unless it is answering or asked to. True where it is gone."""
        if not handle.worker.close_if_idle():
            return False
        with self._lock:
            self._handles = {k: h for k, h in self._handles.items() if h is not handle}
        handle.loaded, handle.kept, handle.state = None, None, "not loaded"
        _collect()
        return True

    def close(self) -> None:
        with self._lock:
            handles, self._handles = list(self._handles.values()), {}
        for handle in handles:
            handle.worker.close()
            handle.loaded = handle.kept = None


def _free_memory(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def _collect() -> None:
    import torch

    gc.unfreeze()  # or the weights' cycles would stay for good
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


POOL = ModelPool()

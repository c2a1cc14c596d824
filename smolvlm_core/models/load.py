"""Loads a checkpoint into memory with transformers.

Does not know prompts or pages. torch is imported inside functions, on the worker's thread, so that a page can be drawn first.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from smolvlm_core.errors import LensError, ModelError, OutOfMemoryError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.config import AGAIN, check_weights
from smolvlm_core.models.download import local_folder
from smolvlm_core.models.machine import GIB, describe_bytes
from smolvlm_core.models.trial import try_processor, try_special_tokens, try_tokenizer
from smolvlm_core.work.report import Report

Dtype = Literal["bfloat16", "float32"]
DEVICE_NAMES = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}
HASHED_WEIGHTS_BYTES = 64 * 2**20  # hashing larger weights would add seconds to each load
# from_pretrained changes torch's default dtype for the whole process while it builds a model, and the vision encoder
# computes positions in the default dtype. Neither may happen during the other.
DEFAULT_DTYPE = threading.Lock()


@dataclass(kw_only=True)
class LoadedModel:
    """A model ready to answer. Touched by its worker's thread only.

    Attributes:
        weights_key: changes with the weights' files.
        static_decode: the engine's compiled decode, where it is used; `extra_bytes` is what it keeps beside the weights.
        decode_note: how it decodes, in words; "" where there is nothing to say.
        on_decode_failure: called with the error where compiled decode failed in an answer.
    """

    model: Any
    tokenizer: Any
    image_processor: Any
    device: str
    revision: str
    weights_key: str
    load_seconds: float
    memory_bytes: int
    static_decode: Any = None
    decode_note: str = ""
    on_decode_failure: Callable[[Exception], None] | None = None
    extra_bytes: int = 0


def load(spec: ModelSpec, dtype: Dtype, device: str, report: Report, *, layers: bool = True) -> LoadedModel:
    """Download a checkpoint where needed and load it. `layers`: with the text model's layers, which take most of the memory.

    `AutoProcessor` is not used: it needs torchvision, which the CPU build of torch cannot import everywhere. The
    image processor and the tokenizer by themselves give the same input.

    Raises:
        ModelError: it cannot be downloaded, is incomplete, or is of another kind.
        OutOfMemoryError: the weights do not fit.
    """
    folder = local_folder(spec, report)
    report("Loading weights", None)
    began = time.perf_counter()
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # `report` shows the progress
    with _reading(spec, folder, "config.json"):
        check_weights(folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with _reading(spec, folder, "tokenizer.json"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        try_tokenizer(tokenizer, config)
    with _reading(spec, folder, "preprocessor_config.json"):
        image_processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
        try_processor(image_processor, spec)
    with _reading(spec, folder, "the weights"):
        model = _weights(folder, config, dtype, device, layers=layers)
    try_special_tokens(model.generation_config, config.text_config.vocab_size)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        image_processor=image_processor,
        device=device,
        revision=_revision_of(spec, folder),
        weights_key=weights_key(folder),
        load_seconds=time.perf_counter() - began,
        memory_bytes=int(model.get_memory_footprint()),
    )


@contextlib.contextmanager
def _reading(spec: ModelSpec, folder: Path, what: str) -> Iterator[None]:
    """Around calls into transformers with a checkpoint's files: for damaged ones it raises nearly every type of exception."""
    import torch

    try:
        yield
    except LensError:
        if not folder.is_dir():
            raise _gone(spec, folder) from None
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(spec) from error
    except BaseException as error:
        # A panic of tokenizers' or safetensors' Rust code is no Exception, but a BaseException.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "out of memory" in str(error).lower():
            raise _too_large(spec) from error
        if not folder.is_dir():
            raise _gone(spec, folder) from error
        raise ModelError(f"{spec.title} cannot be loaded: {what} in {folder}: {_said(error)}.", AGAIN) from error


def _gone(spec: ModelSpec, folder: Path) -> ModelError:
    return ModelError(f"The folder of {spec.title} is gone: {folder}.", "Put it back, or choose another model.")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}".rstrip(". \n")


def _weights(folder: Path, config: Any, dtype: Dtype, device: str, *, layers: bool) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    if not layers:
        config.text_config.num_hidden_layers = 0
    with DEFAULT_DTYPE, _quiet(not layers):
        model, found = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            device_map=_device_map(device),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    if missing := sorted(found["missing_keys"]):  # transformers makes them up
        raise ModelError(f"{folder} lacks {len(missing)} of the model's weights, such as {missing[0]}.", AGAIN)
    return model.eval()


@contextlib.contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Without the list of weights that are left out on purpose."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    if quiet:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


Prepare = Callable[[LoadedModel, ModelSpec, Report], None]


class ModelLoader:
    """Loads one checkpoint for the pool: see `smolvlm_core.work.pool.Loader`."""

    def __init__(self, spec: ModelSpec, dtype: Dtype, prepare: Prepare = lambda loaded, spec, report: None) -> None:
        """`prepare` is called on the worker thread once the model is loaded."""
        self.spec, self.dtype, self._prepare = spec, dtype, prepare
        self.title = spec.title

    def load(self, variant: str | None, report: Report, cancel: threading.Event) -> LoadedModel:
        report("Starting torch", None)
        loaded = load(self.spec, self.dtype, best_device(), report)
        self._prepare(loaded, self.spec, report)
        freeze()
        return loaded

    def serves(self, loaded: LoadedModel, variant: str | None) -> bool:
        return True

    def unload(self, loaded: LoadedModel) -> None:
        release(loaded)

    def shortage_bytes(self) -> int:
        return self.spec.memory_bytes * (2 if self.dtype == "float32" else 1) - free_memory(best_device())

    def used_bytes(self, loaded: LoadedModel) -> int:
        return loaded.memory_bytes + loaded.extra_bytes

    def describe(self, loaded: LoadedModel) -> str:
        weights = describe_bytes(loaded.memory_bytes)
        return f"on {DEVICE_NAMES[loaded.device]}, {weights} of weights, loaded in {loaded.load_seconds:.1f}\u00a0s" + (
            f", {loaded.decode_note}" if loaded.decode_note else ""
        )


def freeze() -> None:
    """Call once a model is loaded. torch and the model stay: later collections need not walk through them (0.2 s each)."""
    gc.collect()
    gc.freeze()


def release(loaded: LoadedModel) -> None:
    """Free a model's memory."""
    import torch

    loaded.model = loaded.static_decode = None
    gc.unfreeze()  # or the weights' cycles would stay for good
    freeze()  # what stays loaded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def best_device() -> str:
    """ "cuda", "mps" or "cpu"."""
    # torch's threads (libgomp, on Linux) wait for each other by spinning: on a busy machine they take the cores from those
    # they wait for. A shorter spin helps much beside another busy program and costs a little on a quiet machine. libgomp
    # reads this once, when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _device_map(device: str) -> str | dict[str, str]:
    return "auto" if device == "cuda" else {"": device}


def _revision_of(spec: ModelSpec, folder: Path) -> str:
    """The commit on the hub, which names the folder of a snapshot in the cache. For a folder: the hash of small weights."""
    if spec.folder is None:
        return folder.name[:12]
    if spec.weights_bytes > HASHED_WEIGHTS_BYTES:
        return f"folder {folder.name}"
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()[:12]}"


def weights_key(folder: Path) -> str:
    """The resolved path, size and time of change of each weights file: in the hub's cache, the path holds the file's hash."""
    files = [path.resolve() for path in sorted(folder.glob("*.safetensors"))]
    return " ".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)


def _too_large(spec: ModelSpec) -> OutOfMemoryError:
    need = f"{spec.memory_bytes / GIB:.1f} GiB"
    return OutOfMemoryError(
        f"{spec.title} does not fit in memory (it needs about {need}).",
        "Choose a smaller model, or close other programs.",
    )


def free_memory(device: str) -> int:
    """Bytes that this process can still take. On a GPU that includes what torch keeps for later."""
    if device == "cuda":
        import torch

        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0] + kept)
    return int(psutil.virtual_memory().available)

"""Whether an answer fits in memory, and what to do when it does not. Knows prompts and free memory; not how an answer is computed.

The prediction itself is pure: `smolvlm_core.models.memory`.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace

from smolvlm_core.engine.state import EngineState
from smolvlm_core.engine.vision.encoder import TILES_AT_ONCE
from smolvlm_core.errors import OutOfMemoryError
from smolvlm_core.models import load
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.models.memory import Engine, Workload, answer_bytes
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.geometry import estimate_tokens
from smolvlm_core.video import count_that_fits
from smolvlm_core.video.decoders.base import MAX_FRAME_EDGE
from smolvlm_core.work.pool import Handle

PREFILL_TOKENS = 512  # prompt tokens read at once; a cancel takes effect at least this often
# Parts of the messages of torch and the CUDA driver: not all of them raise torch.OutOfMemoryError.
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def predict(spec: ModelSpec, prompt: Prompt, settings: GenerationSettings, device: str, number_bytes: int) -> int:
    """Peak bytes of an answer on top of the weights; 0 where the model's sizes are unknown. Counts nothing as reused."""
    if spec.shape is None:
        return 0
    images, text = estimate_tokens(prompt, spec.geometry)
    tokens = min(images + text, spec.context_tokens)
    work = Workload(
        tiles=images // spec.geometry.tokens_per_tile,
        largest_tiles=max((_tiles(spec, slot) for slot in prompt.slots), default=0),
        largest_picture_bytes=max(map(_decoded_bytes, prompt.slots), default=0),
        prompt_tokens=tokens,
        new_tokens=min(settings.max_new_tokens, spec.context_tokens - tokens),
    )
    engine = Engine(
        device=device,
        number_bytes=number_bytes,
        piece_tokens=PREFILL_TOKENS,
        tiles_at_once=TILES_AT_ONCE.get(device, 1),
    )
    return answer_bytes(spec.shape, work, engine)


def refuse_if_too_large(
    handle: Handle[LoadedModel], spec: ModelSpec, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings
) -> None:
    """Call on the worker thread, before anything is computed. Drops caches where the answer would not fit beside them.

    Raises:
        OutOfMemoryError: it does not fit. The hint has the largest number of pictures or frames that would.
    """
    number_bytes = loaded.model.dtype.itemsize

    def needed(shown: Prompt) -> int:
        return predict(spec, shown, settings, loaded.device, number_bytes)

    need = needed(prompt)
    if need <= _free_beside(loaded, spec):
        return
    drop_caches(handle)
    free = max(0, _free_beside(loaded, spec))
    if need > free:
        costly_first = sorted(prompt.slots, key=lambda slot: _tiles(spec, slot), reverse=True)
        most = count_that_fits(
            free, lambda count: needed(replace(prompt, slots=tuple(costly_first[:count]))), len(prompt.slots)
        )
        raise OutOfMemoryError(
            f"This question needs about {describe_bytes(need)} of memory on top of the model; {describe_bytes(free)} is free.",
            _hint(prompt.slots, most),
        )


def drop_caches(handle: Handle[LoadedModel]) -> None:
    """Forget the conversations that the model keeps, and return unused memory to the system."""
    if isinstance(handle.cache, EngineState):
        handle.cache.prefixes.clear()
    gc.collect()
    if handle.loaded is not None and handle.loaded.device == "cuda":
        import torch

        torch.cuda.empty_cache()
    return_unused_ram()


def return_unused_ram() -> None:
    """Give freed blocks back to the system, where the allocator keeps them (glibc). Takes about 10 ms.

    After many pictures this is some 60 MiB, which the language model would otherwise take once more.
    """
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except AttributeError:
            pass  # not glibc


def memory_error(error: BaseException) -> OutOfMemoryError | None:
    """Out of memory as an error that a user can act on; None for any other.

    Clears the frames of the failed call: the traceback would keep its tensors alive.
    """
    import torch

    words = str(error).lower()
    if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(w in words for w in OUT_OF_MEMORY_WORDS):
        return None
    traceback.clear_frames(error.__traceback__)
    worded = OutOfMemoryError(
        "The model ran out of memory while answering.", "Show fewer pictures or frames, or choose a smaller model."
    )
    worded.__cause__ = error
    return worded


def _free_beside(loaded: LoadedModel, spec: ModelSpec) -> int:
    """Free bytes while the whole model stays in memory.

    On a CPU, weights in the dtype of their file are read from it on demand: the system counts their RAM as available.
    """
    free = load.free_memory(loaded.device)
    mapped = loaded.device == "cpu" and loaded.memory_bytes < 1.1 * spec.weights_bytes
    return free - loaded.memory_bytes if mapped else free


def _tiles(spec: ModelSpec, slot: Slot) -> int:
    return spec.geometry.image_tokens([slot]) // spec.geometry.tokens_per_tile


def _decoded_bytes(slot: Slot) -> int:
    """A picture as RGB. Frames of a clip are stored scaled down."""
    scale = 1.0 if slot.tiled else min(1.0, MAX_FRAME_EDGE / max(slot.width, slot.height, 1))
    return int(3 * slot.width * slot.height * scale**2)


def _hint(slots: Sequence[Slot], most: int) -> str:
    if most == 0:
        return "Choose a smaller model, or close other programs."
    kinds = {"picture" if slot.tiled else "frame" for slot in slots}
    what = kinds.pop() if len(kinds) == 1 else "picture or frame"
    return f"Show at most {most} {what}{'s' if most > 1 else ''}, or choose a smaller model."

"""Memory of an answer: predicted, refused where it does not fit, and recovered from where it ran out."""

from __future__ import annotations

import gc
import re
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from smolvlm_core.backends.transformers import CheckpointEntry, TransformersBackend
from smolvlm_core.conversations.context import Cost
from smolvlm_core.engine import memory
from smolvlm_core.engine.prefix_cache import PrefixCaches
from smolvlm_core.engine.state import EngineState, features_of
from smolvlm_core.errors import OutOfMemoryError
from smolvlm_core.models import catalog
from smolvlm_core.models import load as loader
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.models.memory import MIB, Engine, Workload, answer_bytes
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.work.pool import Pool
from tests.conftest import drawn
from ui.chat.choice import Choice

CPU = Engine(device="cpu", number_bytes=2, piece_tokens=512, tiles_at_once=1)
SETTINGS = GenerationSettings(max_new_tokens=8)


def clip_prompt(frames: int, text: str = "What color is the circle?") -> Prompt:
    refs = tuple(FrameRef(float(i), i, f"f{i}") for i in range(frames))
    clip = Attachment(
        kind="video", sha256="v", name="c", mime="video/mp4", width=64, height=64, duration_seconds=frames, frames=refs
    )
    return build_prompt([Message("user", text, (clip,))], lambda _: Image.new("RGB", (64, 64), "red"))


def picture_prompt(*colors: str) -> Prompt:
    images = tuple(Attachment(kind="image", sha256=c, name=c, mime="image/png", width=300, height=300) for c in colors)
    return build_prompt([Message("user", "What color is the circle?", images)], drawn)


def ask(backend: TransformersBackend, prompt: Prompt) -> str:
    events = backend.generate(prompt, SETTINGS, threading.Event())
    return "".join(event.text for event in events if isinstance(event, Delta))


# The prediction. Measured with `python -m benchmarks.memory` on a CPU, MiB: weights and answer together.
MEASURED_256M = [  # tiles, tiles of the largest picture, prompt tokens, new tokens, measured
    (0, 0, 16, 32, 537),
    (13, 13, 878, 32, 709),
    (52, 13, 3464, 32, 736),
    (8, 1, 663, 32, 615),
    (32, 1, 2513, 32, 654),
]


@pytest.mark.parametrize(("tiles", "largest", "prompt", "new", "measured"), MEASURED_256M)
def test_predictions_are_within_15_percent_of_what_was_measured(
    tiles: int, largest: int, prompt: int, new: int, measured: int
) -> None:
    spec = catalog.PUBLISHED[2]
    work = Workload(tiles=tiles, largest_tiles=largest, prompt_tokens=prompt, new_tokens=new)
    assert spec.shape is not None
    predicted = (489 * MIB + answer_bytes(spec.shape, work, CPU)) / MIB
    assert abs(predicted - measured) < 0.15 * measured


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_large_model_with_8_frames_needs_less_than_6_gb(device: str) -> None:
    spec = catalog.PUBLISHED[0]
    need = memory.predict(spec, clip_prompt(8), GenerationSettings(max_new_tokens=256), device, 2)
    assert 4.6e9 < spec.weights_bytes + need < 6e9


def test_the_published_shapes_agree_with_their_figures() -> None:
    for spec in catalog.PUBLISHED:
        assert spec.shape is not None
        assert spec.shape.cache_bytes(1, 2) == spec.kv_bytes_per_token
        assert spec.shape.tokens_per_tile == spec.geometry.tokens_per_tile
    bundled = catalog.bundled()
    assert bundled.shape is not None and bundled.shape.cache_bytes(1, 2) == bundled.kv_bytes_per_token


def test_more_of_anything_needs_more_memory() -> None:
    shape = catalog.PUBLISHED[2].shape
    assert shape is not None
    work = Workload(tiles=8, largest_tiles=1, prompt_tokens=4000, new_tokens=100)
    before = answer_bytes(shape, work, CPU)
    for more in (replace(work, tiles=64), replace(work, prompt_tokens=6000), replace(work, new_tokens=4000)):
        assert answer_bytes(shape, more, CPU) > before
    assert answer_bytes(shape, work, replace(CPU, number_bytes=4)) > before
    many = replace(work, tiles=64)
    kept, dropped = (answer_bytes(shape, many, replace(CPU, device="cuda", keeps_features=k)) for k in (True, False))
    assert kept > dropped


def test_large_pictures_and_not_large_clips_need_more() -> None:
    """A picture is decoded at its own size; measured with 4000 × 3000 px: 134 MiB for an answer of the bundled model."""

    def need(prompt: Prompt, width: int, height: int) -> float:
        slots = tuple(replace(slot, width=width, height=height) for slot in prompt.slots)
        return memory.predict(catalog.bundled(), replace(prompt, slots=slots), SETTINGS, "cpu", 2) / MIB

    picture, clip = picture_prompt("red"), clip_prompt(1)
    assert 134 < need(picture, 4000, 3000) < 134 + 35 + 45, (
        "the picture itself, and what the load added, were not measured"
    )
    assert need(picture, 4000, 3000) > need(picture, 400, 300) + 100
    assert need(clip, 4000, 3000) == pytest.approx(need(clip, 1024, 768), rel=0.01)


def test_a_model_of_unknown_sizes_has_no_prediction() -> None:
    assert memory.predict(replace(catalog.bundled(), shape=None), clip_prompt(8), SETTINGS, "cpu", 2) == 0


def test_the_cost_of_the_next_question_shows_the_memory() -> None:
    pool = Pool()
    small, large = (TransformersBackend(catalog.PUBLISHED[2], dtype, pool=pool) for dtype in ("bfloat16", "float32"))
    choices = [Choice(CheckpointEntry.of(backend.spec), backend, SETTINGS) for backend in (small, large)]
    low, high = (choice.memory_of(clip_prompt(8)) for choice in choices)
    assert small.spec.weights_bytes < low < high and pool.peek(small._key) is None, "nothing is loaded for it"
    cost = Cost(512, 60, 8192, low)
    assert cost.describe().endswith(f"(512 image, 60 text) and {describe_bytes(low)} of memory")
    assert "memory" not in Cost(512, 60, 8192).describe()


# Refused before it starts


@pytest.fixture
def free_bytes(backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the memory that is free beside the loaded model."""
    ask(backend, clip_prompt(1))
    loaded = backend.handle.loaded
    assert loaded is not None

    def set_free(count: int) -> None:
        monkeypatch.setattr(loader, "free_memory", lambda device: count + loaded.memory_bytes)

    return set_free


@pytest.mark.parametrize(("prompt", "what"), [(clip_prompt(20), "frame"), (picture_prompt(*["red"] * 8), "picture")])
def test_the_hint_has_the_largest_number_that_fits(
    backend: TransformersBackend, free_bytes: Callable[[int], None], prompt: Prompt, what: str
) -> None:
    need = [
        memory.predict(backend.spec, replace(prompt, slots=prompt.slots[:n]), SETTINGS, "cpu", 2)
        for n in range(len(prompt.slots) + 1)
    ]
    free_bytes(need[5] + 1)
    with pytest.raises(OutOfMemoryError, match=r"needs about \d+ MiB of memory .* is free") as caught:
        ask(backend, prompt)
    found = re.search(rf"Show at most (\d+) {what}s,", caught.value.hint)
    assert found is not None, caught.value.hint
    assert int(found[1]) == 5
    free_bytes(need[-1])
    assert ask(backend, prompt) != ""


def test_what_never_fits_suggests_another_model(
    backend: TransformersBackend, free_bytes: Callable[[int], None]
) -> None:
    free_bytes(0)
    with pytest.raises(OutOfMemoryError, match="smaller model, or close other programs"):
        ask(backend, clip_prompt(2))


def test_refusing_comes_before_the_pictures_are_opened(
    backend: TransformersBackend, free_bytes: Callable[[int], None]
) -> None:
    opened: list[str] = []
    images = (Attachment(kind="image", sha256="a", name="a", mime="image/png", width=300, height=300),)
    prompt = build_prompt([Message("user", "What?", images)], lambda key: (opened.append(key), drawn())[1])
    free_bytes(0)
    with pytest.raises(OutOfMemoryError):
        ask(backend, prompt)
    assert opened == []


def prefixes_of(backend: TransformersBackend) -> PrefixCaches:
    state = backend.handle.cache
    assert isinstance(state, EngineState)
    return state.prefixes


def test_caches_are_dropped_before_a_question_is_refused(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(backend, clip_prompt(3))
    seen: list[bool] = []

    def free(device: str) -> int:
        seen.append(len(prefixes_of(backend)) == 0)
        return 10**12 if seen[-1] else 0

    monkeypatch.setattr(loader, "free_memory", free)
    assert ask(backend, clip_prompt(3)) != "" and seen == [False, True]


# Out of memory in the middle of an answer


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000 bytes."),
    ],
    ids=["cuda", "python", "mps", "cpu"],
)
@pytest.mark.parametrize("part", ["vision", "language"])
def test_out_of_memory_in_an_answer_leaves_the_model_usable(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch, error: Exception, part: str
) -> None:
    wanted = ask(backend, clip_prompt(1))
    core = backend.handle.loaded.model.model  # type: ignore[union-attr]
    layer = (core.vision_model.encoder if part == "vision" else core.text_model).layers[-1]
    left: list[weakref.ref[Any]] = []
    features_of(backend._pool).clear()  # or no tile would be encoded again

    def fail(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        left.extend([weakref.ref(hidden), weakref.ref(prefixes_of(backend)._kept[-1].cache)])
        raise error

    monkeypatch.setattr(layer, "forward", fail)
    with pytest.raises(OutOfMemoryError, match="ran out of memory") as caught:
        ask(backend, picture_prompt("blue", "green"))
    assert "fewer pictures" in caught.value.hint
    assert len(prefixes_of(backend)) == 0
    gc.collect()
    assert [ref() for ref in left] == [None, None], "the error keeps tensors in memory"
    assert ask(backend, clip_prompt(1)) == wanted


def test_what_torch_says_without_ram_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert memory.memory_error(caught.value) is not None


def test_other_errors_stay_bugs() -> None:
    assert memory.memory_error(RuntimeError("shape mismatch")) is None

"""Decoding with a cache of fixed length, and the choice of it. On a CPU, where it is never compiled: CUDA is not tested here."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine import decode_choice
from smolvlm_core.engine.decode import StaticDecode
from smolvlm_core.engine.decode_choice import Outcome, compare, prepare
from smolvlm_core.models import catalog
from smolvlm_core.models import load as loader
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.work.pool import Pool
from tests.conftest import drawn


def prompt_of(*said: str, color: str = "green") -> Prompt:
    """Questions and answers in turn; the first shows a picture."""
    image = Attachment(kind="image", sha256=color, name=color, mime="image/png", width=300, height=300)
    messages = [
        Message("user" if i % 2 == 0 else "assistant", text, (image,) if i == 0 else ()) for i, text in enumerate(said)
    ]
    return build_prompt(messages, drawn)


def ask(backend: TransformersBackend, prompt: Prompt, settings: GenerationSettings | None = None) -> tuple[str, Stats]:
    events = list(backend.generate(prompt, settings or GenerationSettings(max_new_tokens=24), threading.Event()))
    assert isinstance(events[-1], Stats)
    return "".join(event.text for event in events if isinstance(event, Delta)), events[-1]


@pytest.fixture
def own() -> Iterator[TransformersBackend]:
    """The bundled model in a pool of its own."""
    pool = Pool()
    backend = TransformersBackend(catalog.bundled(), pool=pool)
    assert backend.handle.worker.submit(backend.handle.ensure).finished.wait(60)
    yield backend
    pool.close()


def loaded_of(backend: TransformersBackend) -> LoadedModel:
    assert backend.handle.loaded is not None
    return backend.handle.loaded


CONVERSATIONS = [
    prompt_of("Describe the image."),
    prompt_of("Describe the image.", "A large green circle.", "What color is it?"),
    prompt_of("Describe the image.", color="blue"),
    prompt_of("Describe the image.", "A large blue circle.", "What shape is it?", color="blue"),
]
SAMPLED = GenerationSettings(temperature=1.2, seed=5, max_new_tokens=24, repetition_penalty=1.2)


@pytest.mark.parametrize("settings", [GenerationSettings(max_new_tokens=24), SAMPLED], ids=["greedy", "sampled"])
def test_a_fixed_cache_gives_the_same_answers_over_turns(
    backend: TransformersBackend, own: TransformersBackend, settings: GenerationSettings
) -> None:
    """One fixed cache serves several answers, and what it adds can be reused and cut by the next."""
    static = loaded_of(own).static_decode = StaticDecode(loaded_of(own).model, 400)
    calls = count_calls(static)
    backend.handle.cache = None
    for prompt in CONVERSATIONS:
        (text, stats), (wanted, stats_wanted) = ask(own, prompt, settings), ask(backend, prompt, settings)
        assert text == wanted
        assert (stats.reused_tokens, stats.new_tokens) == (stats_wanted.reused_tokens, stats_wanted.new_tokens)
    assert len(calls) == len(CONVERSATIONS)


def count_calls(static: StaticDecode) -> list[str]:
    calls: list[str] = []
    real = static.generate
    static.generate = lambda cache, **options: (calls.append("call"), real(cache, **options))[1]  # type: ignore
    return calls


def test_what_does_not_fit_the_fixed_cache_grows(own: TransformersBackend, backend: TransformersBackend) -> None:
    static = loaded_of(own).static_decode = StaticDecode(loaded_of(own).model, 220)
    calls = count_calls(static)
    prompt = CONVERSATIONS[0]
    tokens = ask(backend, prompt)[1].prompt_tokens
    for new_tokens, used in ((220 - tokens, 1), (221 - tokens, 0)):
        calls.clear()
        settings = GenerationSettings(max_new_tokens=new_tokens)
        assert ask(own, prompt, settings)[0] == ask(backend, prompt, settings)[0]
        assert len(calls) == used


@pytest.mark.parametrize("settings", [GenerationSettings(max_new_tokens=24), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("tokens_before", [0, 1, 5])
def test_a_failure_in_an_answer_goes_on_without_it(
    own: TransformersBackend,
    backend: TransformersBackend,
    tokens_before: int,
    settings: GenerationSettings,
) -> None:
    """No token is lost or said twice, wherever compiled decode fails."""
    loaded = loaded_of(own)
    static = loaded.static_decode = StaticDecode(loaded.model, 400)
    failures: list[Exception] = []
    loaded.on_decode_failure = failures.append
    real, steps = loaded.model.forward, []

    @functools.wraps(real)  # `generate` reads its parameters
    def forward(*args: Any, **kwargs: Any) -> Any:
        if any(value is static._cache for value in kwargs.values()):  # called `cache` since transformers 5.24
            steps.append("step")
            if len(steps) > tokens_before:
                raise RuntimeError("no kernel image is available")
        return real(*args, **kwargs)

    loaded.model.forward = forward
    prompt = prompt_of("Describe each image and more.", color="red")
    text, stats = ask(own, prompt, settings)
    wanted, stats_wanted = ask(backend, prompt, settings)
    assert len(steps) == tokens_before + 1 and stats.new_tokens > 5
    assert (text, stats.new_tokens, stats.stop_reason) == (wanted, stats_wanted.new_tokens, stats_wanted.stop_reason)
    assert len(failures) == 1 and loaded.static_decode is None
    assert "compiled decode is off: it failed" in own.status().text
    assert ask(own, prompt, settings)[0] == wanted


# The choice


class Clock:
    """Seconds that pass only when a decoder says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def decoder(self, *seconds: float, tokens: tuple[int, ...] = (1, 2, 3)) -> Any:
        rest = list(seconds)

        def decode() -> list[int]:
            self.now += rest.pop(0)
            return list(tokens)

        return decode


def test_faster_with_the_same_tokens_is_used() -> None:
    clock = Clock()
    outcome = compare(clock.decoder(5, 3), clock.decoder(60, 1), clock)
    assert outcome == Outcome(3.0) and outcome.use, "compiling is not counted"
    assert outcome.describe() == "compiled decode: 3.0 × faster on this GPU"


def test_what_is_not_faster_is_off() -> None:
    clock = Clock()
    outcome = compare(clock.decoder(1, 1), clock.decoder(1, 0.95), clock)
    assert not outcome.use and outcome.describe() == "compiled decode is off: it was not faster"


def test_other_tokens_are_off_however_fast() -> None:
    clock = Clock()
    outcome = compare(clock.decoder(1, 1), clock.decoder(1, 0.1, tokens=(1, 2, 4)), clock)
    assert not outcome.use and outcome.describe() == "compiled decode is off: its tokens differed"


def test_a_failure_is_off() -> None:
    def fail() -> list[int]:
        raise ValueError("Triton is missing")

    outcome = compare(lambda: [1], fail)
    assert not outcome.use and outcome.describe() == "compiled decode is off: it failed (ValueError)"


@pytest.fixture
def known_seconds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Replaces the measured times of `compare` in `prepare`: the real decoders run, but on a clock of the test's own."""
    seconds = {"growing": 3.0, "compiled": 1.0}
    clock = Clock()
    real_decoders, real_compare = decode_choice.decoders, decode_choice.compare

    def decoders(loaded: LoadedModel, static: StaticDecode) -> Any:
        def slowed(decode: Any, name: str) -> Any:
            def run() -> list[int]:
                clock.now += seconds[name]
                return decode()  # type: ignore[no-any-return]

            return run

        growing, compiled = real_decoders(loaded, static)
        return slowed(growing, "growing"), slowed(compiled, "compiled")

    monkeypatch.setattr(decode_choice, "decoders", decoders)
    monkeypatch.setattr(decode_choice, "compare", lambda a, b: real_compare(a, b, clock))
    return seconds


def prepared(own: TransformersBackend) -> tuple[LoadedModel, list[str]]:
    """A fresh record of the loaded model after `prepare`, and the reported texts."""
    fresh, texts = replace(loaded_of(own), static_decode=None, decode_note="", extra_bytes=0), []
    prepare(fresh, own.spec, lambda text, fraction: texts.append(text), devices=("cpu",))
    return fresh, texts


def test_the_outcome_is_remembered_and_shown(
    own: TransformersBackend, own_data_folder: Path, known_seconds: dict[str, float]
) -> None:
    first, texts = prepared(own)
    assert first.static_decode is not None and "once" in texts[0]
    assert first.extra_bytes == 2048 * own.spec.kv_bytes_per_token
    note = "compiled decode: 3.0 × faster on this GPU"
    assert first.decode_note == note and note in own.handle.loader.describe(first)
    rows = json.loads((own_data_folder / "decode.json").read_text("utf-8"))
    (key,) = rows
    for part in (torch.__version__, own.spec.weights_id, first.revision, "bfloat16"):
        assert part in key
    known_seconds["compiled"] = 100.0
    again, texts = prepared(own)
    assert again.static_decode is not None and "once" not in texts[0], "the test is not repeated"
    (own_data_folder / "decode.json").write_text(
        json.dumps({key.replace("transformers 5", "transformers 4"): rows[key]})
    )
    other, _ = prepared(own)
    assert other.static_decode is None and other.decode_note.endswith("it was not faster"), "another version is tested"
    last, texts = prepared(own)
    assert last.static_decode is None and texts == [] and last.decode_note.endswith("it was not faster")


def test_a_failure_in_an_answer_is_remembered(own: TransformersBackend, known_seconds: dict[str, float]) -> None:
    first, _ = prepared(own)
    assert first.on_decode_failure is not None
    first.on_decode_failure(RuntimeError("no kernel image is available"))
    again, texts = prepared(own)
    assert again.static_decode is None and texts == [] and "it failed (RuntimeError)" in again.decode_note


def test_a_lack_of_memory_is_not_remembered(
    own: TransformersBackend, known_seconds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loader, "free_memory", lambda device: 1000)
        short, _ = prepared(own)
    assert short.static_decode is None and short.decode_note == "compiled decode is off: not enough memory"
    first, _ = prepared(own)
    first.on_decode_failure(torch.OutOfMemoryError("CUDA out of memory"))  # type: ignore[misc]
    assert prepared(own)[0].static_decode is not None


def test_nothing_is_fatal(
    own: TransformersBackend, own_data_folder: Path, known_seconds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_data_folder.mkdir(exist_ok=True)
    (own_data_folder / "decode.json").write_text("{damaged")
    assert prepared(own)[0].static_decode is not None
    assert (own_data_folder / "decode.json.damaged").read_text() == "{damaged", "a file that cannot be read is kept"

    def fail(*_: object) -> None:
        raise RuntimeError("no driver")

    monkeypatch.setattr(decode_choice, "key_of", fail)
    broken, _ = prepared(own)
    assert broken.static_decode is None and "it failed (RuntimeError)" in broken.decode_note


def test_it_is_off_on_a_cpu_and_by_the_environment(
    own: TransformersBackend, own_data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded_of(own).static_decode is None and "compiled" not in own.status().text
    monkeypatch.setenv("SMOLVLM_LENS_COMPILE", "off")
    assert prepared(own)[0].static_decode is None and not (own_data_folder / "decode.json").exists()

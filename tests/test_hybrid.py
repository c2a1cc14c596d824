"""The hybrid backend: the bundled model's pictures by torch, its words by llama.cpp, for real."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from smolvlm_core.backends.base import Reply, collect
from smolvlm_core.backends.hybrid.backend import HybridBackend, HybridEntry
from smolvlm_core.backends.hybrid.loader import HybridLoader, HybridModel, text_options
from smolvlm_core.backends.hybrid.self_test import HybridSelfTest, compare
from smolvlm_core.backends.registry import companions_of
from smolvlm_core.backends.transformers import CheckpointEntry, TransformersBackend
from smolvlm_core.errors import BackendError, ContextTooSmall, OutOfMemoryError
from smolvlm_core.llamacpp.text import client
from smolvlm_core.llamacpp.text.messages import Open, Opened, Waiting
from smolvlm_core.llamacpp.text.sampling import Sampler
from smolvlm_core.llamacpp.text.scheduler import Scheduler
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace
from tests.test_backend import PICTURES, prompt_of

pytestmark = pytest.mark.skipif(not client.is_installed(), reason="llama-cpp-python is not on this machine")


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HybridBackend]:
    pool = Pool()
    data = tmp_path_factory.mktemp("hybrid")
    before = os.environ.get("SMOLVLM_LENS_DATA")
    os.environ["SMOLVLM_LENS_DATA"] = str(data)
    backend = HybridBackend(catalog.bundled(), pool=pool)
    ask(backend, prompt_of(("hello", ())))
    if before is not None:
        os.environ["SMOLVLM_LENS_DATA"] = before
    yield backend
    pool.close()


def ask(
    backend: HybridBackend | TransformersBackend, prompt: Prompt, settings: GenerationSettings | None = None
) -> Reply:
    return collect(backend.generate(prompt, settings or GenerationSettings(max_new_tokens=32), threading.Event()))


def model_of(backend: HybridBackend) -> HybridModel:
    loaded = backend.handle.loaded
    assert loaded is not None
    return loaded


def test_it_answers_like_transformers(hybrid: HybridBackend, backend: TransformersBackend) -> None:
    questions = ("What color is the shape?", "What shape is in the image?", "Describe the image.")
    prompts = [prompt_of((question, [key])) for key in PICTURES for question in questions]
    prompts += [prompt_of(("Describe each image.", ["blue", "green"])), prompt_of(("hello", ()))]
    pairs = [(ask(hybrid, prompt), ask(backend, prompt)) for prompt in prompts]
    assert sum(one.text == other.text for one, other in pairs) >= len(pairs) - 1  # a near tie may turn
    assert [one.stats.prompt_tokens for one, _ in pairs] == [other.stats.prompt_tokens for _, other in pairs]
    assert all(one.stats.prompt_fingerprint == other.stats.prompt_fingerprint for one, other in pairs)


def test_statistics_and_ends(hybrid: HybridBackend) -> None:
    reply = ask(hybrid, prompt_of(("What color is the circle?", ["red"])))
    stats = reply.stats
    assert (reply.text, stats.stop_reason, stats.image_tokens, stats.new_tokens) == ("Red.", "end", 180, 3)
    assert stats.time_to_first_token_seconds and stats.peak_memory_bytes > 10**6
    short = ask(hybrid, prompt_of(("Describe each image.", ["red", "blue"])), GenerationSettings(max_new_tokens=2))
    assert (short.stats.stop_reason, short.stats.new_tokens) == ("length", 2)
    full = ask(hybrid, prompt_of(("What? " * 1010, ())), GenerationSettings(max_new_tokens=256))
    assert full.stats.prompt_tokens + full.stats.new_tokens <= 2048
    for too_long in (prompt_of(("What?", ["red"] * 12)), prompt_of(("word " * 3000, ()))):
        with pytest.raises(ContextTooSmall, match="has room for 2,048"):
            ask(hybrid, too_long)


def test_conversations_are_kept_and_prefixes_shared(hybrid: HybridBackend) -> None:
    first = ask(hybrid, prompt_of(("What color is the circle?", ["green"])))
    for key in ("red", "blue", "yellow"):
        ask(hybrid, prompt_of(("What shape is it?", [key])))
    back = prompt_of(("What color is the circle?", ["green"]), first.text, ("What shape is it?", ()))
    again = ask(hybrid, back)
    assert again.stats.reused_tokens >= first.stats.prompt_tokens and again.text == "Circle."
    other = ask(hybrid, prompt_of(("What shape is green?", ["green"])))
    assert other.stats.reused_tokens > 180 and other.text == "Circle."
    assert ask(hybrid, back).stats.reused_tokens == again.stats.prompt_tokens - 1


def test_sessions_are_answered_together(hybrid: HybridBackend, backend: TransformersBackend) -> None:
    """More askers than places; all get their own answers, and some of them at the same time."""
    questions = ("What color is the shape?", "What shape is in the image?", "Describe the image.")
    prompts = [prompt_of((question, [key])) for key in list(PICTURES)[:4] for question in questions]
    wanted = [ask(backend, prompt).text for prompt in prompts]
    got: dict[int, str] = {}
    spans: dict[int, list[int]] = {}
    order = iter(range(10**6))

    def one(number: int) -> None:
        for event in hybrid.generate(prompts[number], GenerationSettings(max_new_tokens=32), threading.Event()):
            if isinstance(event, Delta):
                got[number] = got.get(number, "") + event.text
                spans.setdefault(number, []).append(next(order))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(got[i] == wanted[i] for i in range(12)) >= 11
    overlaps = sum(a[0] < b[-1] and b[0] < a[-1] for i, a in spans.items() for j, b in spans.items() if i < j)
    assert overlaps > 0


def test_a_cancel_frees_its_place_and_harms_no_other(hybrid: HybridBackend) -> None:
    cancel, got = threading.Event(), []
    for event in hybrid.generate(prompt_of(("Describe each image.", ["red", "blue"])), GenerationSettings(), cancel):
        got.append(event)
        if isinstance(event, Delta):
            cancel.set()
    assert isinstance(got[-1], Stats) and got[-1].stop_reason == "cancelled"
    events = hybrid.generate(
        prompt_of(("Describe each image.", ["red", "green"])), GenerationSettings(), cancel := threading.Event()
    )
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert cancel.is_set()
    assert ask(hybrid, prompt_of(("What color is the circle?", ["red"]))).text == "Red."
    assert not hybrid.handle.worker.busy


def test_a_crash_of_the_text_model_is_survived(hybrid: HybridBackend) -> None:
    process = model_of(hybrid).text._process
    events = hybrid.generate(
        prompt_of(("Describe each image.", ["red", "blue"])), GenerationSettings(), threading.Event()
    )
    with pytest.raises(BackendError, match="ended in the middle of the answer: it was ended by signal 9") as raised:
        for event in events:
            if isinstance(event, Delta) and process.poll() is None:
                os.kill(process.pid, signal.SIGSTOP)  # so that it cannot finish first
                os.kill(process.pid, signal.SIGKILL)
    assert "Ask again" in raised.value.hint
    assert ask(hybrid, prompt_of(("What color is the circle?", ["red"]))).text == "Red."
    assert model_of(hybrid).text._process.pid != process.pid


class Small(HybridLoader):
    """The text model of another backend once more, with room for few conversations."""

    def __init__(self, whole: HybridModel, **options: int) -> None:
        super().__init__(catalog.bundled(), "F16")
        self._whole, self._options = whole, options

    def load(self, *arguments: object) -> HybridModel:  # type: ignore[override]
        text = client.TextModel.launch(replace(self._whole.text.options, **self._options))
        text.wait_until_ready(lambda *_: None, threading.Event())
        return HybridModel(eyes=self._whole.eyes, text=text)

    def unload(self, loaded: HybridModel) -> None:
        loaded.text.stop()


@pytest.fixture
def small(hybrid: HybridBackend, request: pytest.FixtureRequest) -> Iterator[HybridBackend]:
    """Room for little more than two conversations: the others are kept outside, and come back whole."""
    pool = Pool()
    backend = HybridBackend(catalog.bundled(), pool=pool)
    options = {"cells": 512, "parallel": 2, **getattr(request, "param", {})}
    pool.get(backend._key, lambda: Small(model_of(hybrid), **options))
    yield backend
    pool.close()


def test_more_conversations_than_fit_take_turns_in_the_cache(small: HybridBackend) -> None:
    first = ask(small, prompt_of(("What color is the circle?", ["red"])))
    for key in ("blue", "green", "yellow"):
        ask(small, prompt_of(("What color is the shape?", [key])))
    back = ask(small, prompt_of(("What color is the circle?", ["red"]), first.text, ("What shape is it?", ())))
    assert back.stats.reused_tokens >= first.stats.prompt_tokens and back.text == "Circle."
    threads = [
        threading.Thread(target=ask, args=(small, prompt_of(("Describe the image.", [key])))) for key in PICTURES
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert model_of(small).text.alive


@pytest.mark.parametrize("small", [{}, {"kept_bytes": 2**20}], indirect=True, ids=["all kept", "few kept"])
def test_a_kept_conversation_comes_back_while_others_fill_the_cache(small: HybridBackend) -> None:
    """Guards the restore of a conversation that needs the room of idle ones: it must neither lose its own place in the cache
    nor fall out of what is kept."""
    color, shape = "What color is the shape?", "What shape is in the image?"
    rng, wanted = (
        random.Random(1),
        {"red": ("Red.", "Circle."), "blue": ("Blue.", "Square."), "green": ("Green.", "Circle.")},
    )
    turns = [(key, which) for key in wanted for which in (0, 1)] * 6
    rng.shuffle(turns)
    answers: list[tuple[str, str]] = []

    def session(mine: list[tuple[str, int]]) -> None:
        for key, which in mine:
            said = prompt_of(((color, shape)[which], [key]))
            longer = prompt_of(((color, shape)[which], [key]), wanted[key][which], ((shape, color)[which], ()))
            answers.append((ask(small, said).text, wanted[key][which]))
            answers.append((ask(small, longer).text, wanted[key][1 - which]))

    threads = [threading.Thread(target=session, args=(turns[i::2],)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == 2 * len(turns)
    assert [got for got, _ in answers] == [right for _, right in answers]


def test_a_cold_question_waits_for_room_of_its_own() -> None:
    """It copies nothing of a conversation that begins the same, so what they share is no room that it saves."""
    told: list[object] = []
    options: Any = SimpleNamespace(cells=512, parallel=2, kept_bytes=0)
    scheduler = Scheduler(None, options, told.append)  # type: ignore[arg-type]
    ids = list(range(300))
    scheduler.open(Open(request=1, ids=ids, identity=ids, max_new_tokens=8))
    scheduler._running[1].conversation.identity = ids  # it was read
    scheduler.open(Open(request=2, ids=ids, identity=ids, max_new_tokens=8, fresh=True))
    assert told == [Opened(request=1, reused=0), Waiting(request=2, ahead=1)]


# Sampling


def test_sampling_follows_transformers_processors() -> None:
    rng = np.random.default_rng(0)
    logits, seen = rng.normal(size=50).astype(np.float32) * 3, [3, 7, 7, 9]
    sampler = Sampler(seen, GenerationSettings(repetition_penalty=1.7))
    penalized = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([seen]), torch.tensor(logits)[None])
    assert np.allclose(sampler._penalized(logits), penalized[0].numpy())
    draw = Sampler([], GenerationSettings(temperature=0.7, top_p=0.6, seed=1))
    counts = np.bincount([draw.pick(logits) for _ in range(4000)], minlength=50) / 4000
    warped = TopPLogitsWarper(0.6)(None, TemperatureLogitsWarper(0.7)(None, torch.tensor(logits)[None]))
    assert np.allclose(counts, torch.softmax(warped, -1)[0].numpy(), atol=0.03)


def test_sampling_is_repeatable_by_its_seed(hybrid: HybridBackend) -> None:
    prompt = prompt_of(("Describe the image.", ["blue"]))
    warm = GenerationSettings(temperature=3.0, seed=3, max_new_tokens=40)
    one, two = ask(hybrid, prompt, warm).text, ask(hybrid, prompt, warm).text
    others = {ask(hybrid, prompt, replace(warm, seed=s)).text for s in range(4, 10)}
    assert one == two and len(others) > 1


# The list of backends


def test_it_comes_with_a_checkpoint_where_it_is_installed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = CheckpointEntry.of(catalog.bundled())
    assert [entry.key for entry in companions_of(bundled)] == ["hybrid:smolvlm-shapes"]
    keys = [entry.key for entry in workspace.registry.entries()]
    assert keys[keys.index("smolvlm-shapes") + 1] == "hybrid:smolvlm-shapes"
    assert workspace.registry.make("hybrid:smolvlm-shapes", "Q8_0").name.endswith("hybrid Q8_0")
    assert "hybrid:SmolVLM2-2.2B-Instruct" not in keys, "its weights are not on this machine"
    monkeypatch.setattr(client, "is_installed", lambda: False)
    assert companions_of(bundled) == []


def test_it_becomes_the_default_where_its_self_test_agrees(
    workspace: Workspace, hybrid: HybridBackend, backend: TransformersBackend
) -> None:
    bundled = CheckpointEntry.of(catalog.bundled())
    assert workspace.registry.preferred(bundled) == bundled, "not tested yet"
    test = HybridSelfTest(catalog.bundled(), lambda pool: hybrid)
    outcome = compare(backend, hybrid, lambda *_: None, threading.Event())
    assert outcome.asked == 10 and outcome.same >= 9 and outcome.speedup > 0
    test.remember(outcome)
    assert test.result() == outcome.result() and "of 10 answers equal transformers'" in outcome.result().text
    for other in (replace(outcome, speedup=1.5), replace(outcome, speedup=0.9), replace(outcome, same=8, speedup=2.0)):
        test.remember(other)
        chosen = workspace.registry.preferred(bundled)
        assert isinstance(chosen, HybridEntry) == (other.speedup == 1.5)


def test_a_self_test_that_cannot_run_is_no_reason_to_prefer_it(
    workspace: Workspace, hybrid: HybridBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(HybridBackend):
        def generate(self, *_: object) -> Iterator[Event]:  # type: ignore[override]
            raise BackendError("It broke.")

    failing = HybridSelfTest(catalog.bundled(), lambda pool: Failing(catalog.bundled(), pool=pool))
    assert "could not run: It broke." in failing.run(workspace.pool, lambda *_: None, threading.Event()).text
    assert not isinstance(workspace.registry.preferred(CheckpointEntry.of(catalog.bundled())), HybridEntry)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(OutOfMemoryError, match="needs about .* of memory"):
        failing.run(workspace.pool, lambda *_: None, threading.Event())


def test_memory_for_conversations_is_bounded() -> None:
    large = text_options(catalog.PUBLISHED[0], Path("x"))
    small = text_options(catalog.PUBLISHED[2], Path("x"))
    assert large.cells == 8192 and 8192 < small.cells <= 4 * 8192

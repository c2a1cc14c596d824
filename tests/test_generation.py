"""What an answer took: the same words and the same meaning for every backend."""

from __future__ import annotations

import threading
import time

import pytest

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Progress, Stats
from smolvlm_core.prompt.messages import Message
from smolvlm_core.work.pool import Pool
from tests.conftest import Ggufs
from tests.llama import needs_llama_cpp

HELLO = build_prompt([Message("user", "hello")], {}.__getitem__)


def ask(backend: Backend, cancel: threading.Event | None = None) -> Stats:
    return collect(backend.generate(HELLO, GenerationSettings(), cancel or threading.Event())).stats


def test_the_summary_has_units_and_names_waiting_and_loading_only_where_they_are_noticeable() -> None:
    stats = Stats(
        "end",
        image_tokens=180,
        prompt_tokens=212,
        new_tokens=3,
        time_to_first_token_seconds=0.314,
        tokens_per_second=95.4,
        queued_seconds=3.14,
        load_seconds=2.04,
    )
    assert stats.summary() == (
        "waited 3.1 s · loaded in 2.0 s · first token 0.31 s · 95 tokens/s · 180 image + 32 text tokens · 3 new"
    )
    assert Stats("end", prompt_tokens=9, queued_seconds=0.2, load_seconds=0.2).summary() == "9 prompt tokens · 0 new"


def test_time_to_first_token_does_not_include_loading() -> None:
    pool = Pool()
    try:
        backend = TransformersBackend(catalog.bundled(), pool=pool)
        cold, warm = ask(backend), ask(backend)
    finally:
        pool.close()
    assert cold.load_seconds > 0.01 and warm.load_seconds < 0.01
    assert cold.time_to_first_token_seconds + cold.load_seconds + cold.queued_seconds <= cold.total_seconds


def waits_for_another_answer(backend: Backend, busy_seconds: float = 1.0) -> Stats:
    ask(backend)  # loaded
    backend.handle.worker.submit(lambda: time.sleep(busy_seconds))  # type: ignore[attr-defined]
    return ask(backend)


def test_time_to_first_token_does_not_include_waiting(backend: TransformersBackend) -> None:
    stats = waits_for_another_answer(backend)
    assert stats.queued_seconds > 0.9 and "waited" in stats.summary()
    assert stats.time_to_first_token_seconds + stats.queued_seconds <= stats.total_seconds


@needs_llama_cpp
def test_the_same_with_llama_cpp(ggufs: Ggufs) -> None:
    backend = ggufs.backend()
    cold = ask(backend)
    assert cold.load_seconds > 0.1 > cold.queued_seconds
    stats = waits_for_another_answer(backend)
    assert stats.queued_seconds > 0.9 and stats.load_seconds < 0.1 and "waited" in stats.summary()
    for each in (cold, stats):
        assert each.time_to_first_token_seconds + each.queued_seconds + each.load_seconds <= each.total_seconds
    backend.close()


def test_collect_reads_an_answer_to_its_end() -> None:
    seen: list[Progress] = []
    events = [Progress("Reading"), Delta("A "), Delta("circle."), Stats("end", new_tokens=2)]
    reply = collect(events, seen.append)
    assert (reply.text, reply.stats.new_tokens, seen) == ("A circle.", 2, [Progress("Reading")])

    def failing():  # type: ignore[no-untyped-def]
        yield Stats("failed")
        raise LensError("It failed.")

    with pytest.raises(LensError, match="It failed"):
        collect(failing())

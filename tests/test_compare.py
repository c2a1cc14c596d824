"""Side by side: real backends on the same prompt, one failing, one stopped, votes, reports."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from smolvlm_core.backends.base import Event
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import Verdict, verdicts
from smolvlm_core.compare.report import to_html, to_json, to_markdown
from smolvlm_core.compare.run import Comparison, Unavailable, find, keep_running, marked
from smolvlm_core.compare.votes import tally, votes
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.server import ServerOptions
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.work.device_lock import device_of, turn
from tests.conftest import Ggufs, drawn
from tests.llama import needs_llama_cpp

PICTURES = {"red": drawn("red")}
BF16 = TransformersBackend(catalog.bundled())
FP32 = TransformersBackend(catalog.bundled(), "float32")


def prompt(question: str) -> tuple[str, Prompt]:
    shown = (Attachment("image", "red", "red.png", "image/png", 300, 300),)
    return question, build_prompt([Message("user", question, shown)], PICTURES.__getitem__)


COLOR, SHAPE = prompt("What color is the circle?"), prompt("What shape is it?")


class Slow:
    """The real model, that waits before it begins, and notes when it ran."""

    name, revision = "slow", ""

    def __init__(self, wait_seconds: float = 0.0) -> None:
        self.wait_seconds = wait_seconds
        self.ran: list[tuple[float, float]] = []

    def capabilities(self) -> object:
        return BF16.capabilities()

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        began = time.monotonic()
        cancel.wait(self.wait_seconds)
        yield from BF16.generate(prompt, settings, cancel)
        self.ran.append((began, time.monotonic()))

    def close(self) -> None:
        pass


def test_bf16_and_fp32_answer_the_same_prompt_with_their_figures() -> None:
    found = Comparison([("bf16", BF16), ("fp32", FP32)], [COLOR, SHAPE], GenerationSettings())
    found.wait(120)
    assert found.done
    for column in found.columns:
        assert [r.text for r in column.replies] == ["Red.", "Circle."]
        assert all(r.stats.image_tokens == 180 and r.stats.prompt_fingerprint == p.fingerprint
                   for r, p in zip(column.replies, found.prompts))  # fmt: skip
        assert column.warm_seconds and column.revision.startswith("sha256")
        assert list(column.files) == ["model.safetensors"] and len(column.files["model.safetensors"]) == 64


def test_columns_of_one_device_take_turns() -> None:
    first, second = Slow(0.05), Slow(0.05)
    Comparison([("a", first), ("b", second)], [COLOR], GenerationSettings()).wait(60)
    spans = sorted(first.ran + second.ran)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert device_of(OpenAIBackend("http://10.0.0.5:8000")) == "10.0.0.5"
    assert device_of(OpenAIBackend("http://localhost:8000")) == device_of(BF16) == "this machine"


def test_one_that_fails_does_not_hold_up_the_others() -> None:
    gone = OpenAIBackend("http://127.0.0.1:9")
    found = Comparison([("gone", gone), ("bf16", BF16)], [COLOR], GenerationSettings())
    found.wait(60)
    assert found.columns[0].state == "failed" and "Nothing answers" in found.columns[0].replies[0].error
    assert found.columns[1].replies[0].text == "Red."


def test_one_that_cannot_be_had_says_so_in_its_column() -> None:
    lost = Unavailable("lost", LensError("There is no file x.gguf.", "Add it again."))
    found = Comparison([("lost", lost), ("bf16", BF16)], [COLOR, SHAPE], GenerationSettings())
    found.wait(60)
    assert [c.state for c in found.columns] == ["failed", "done"]
    assert "no file x.gguf" in found.columns[0].replies[0].error and found.reference(0) is found.columns[1]


def test_one_that_refuses_every_question_has_failed() -> None:
    class Refuses(Slow):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            if prompt.slots:
                raise LensError("No vision.")
            return super().generate(prompt, settings, cancel)

    found = Comparison([("no", Refuses()), ("bf16", BF16)], [COLOR, SHAPE], GenerationSettings())
    found.wait(60)
    assert found.columns[0].state == "failed" and [r.ended for r in found.columns[0].replies] == [True, True]


def test_an_answer_that_is_not_whole_says_so_everywhere() -> None:
    found = Comparison([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings(max_new_tokens=2))
    found.wait(60)
    reply = found.columns[0].replies[0]
    assert reply.text and reply.how_it_ended.startswith("Cut after 2 tokens")
    reply.error = "The server ended."
    for report in (to_html(found), to_markdown(found)):
        assert reply.how_it_ended in report and reply.error in report and reply.text in report


def test_two_comparisons_take_turns_and_can_be_found_again() -> None:
    first = Comparison([("a", Slow(0.3)), ("b", Slow())], [COLOR], GenerationSettings())
    while first.columns[0].state == "waiting":
        time.sleep(0.01)
    second = Comparison([("c", Slow()), ("d", Slow())], [COLOR], GenerationSettings())
    key = keep_running(second)
    while not second.columns[0].progress:
        time.sleep(0.01)
    assert second.columns[0].state == "waiting" and "Waiting for another" in second.columns[0].progress
    second.wait(60)
    ran = [span for c in (*first.columns, *second.columns) for span in c.backend.ran]  # type: ignore[attr-defined]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(ran)))
    assert find(key) is second and find("nothing") is None


def test_a_turn_that_is_waited_for_can_be_given_up() -> None:
    cancel = threading.Event()
    with turn("a host", threading.Event(), lambda: None) as mine, turn("a host", cancel, cancel.set) as yours:
        assert mine and not yours
    with turn("a host", threading.Event(), lambda: None) as free, turn("another", cancel, lambda: None) as given_up:
        assert free and not given_up


def test_who_votes_blind_cannot_tell_by_the_order() -> None:
    orders = set()
    for _ in range(12):
        found = Comparison([(n, Slow()) for n in "abcd"], [COLOR], GenerationSettings(), blind=True)
        found.stop()
        orders.add(tuple(c.name for c in found.shown))
        assert found.hides_names
    assert len(orders) > 1


def test_one_can_be_stopped() -> None:
    found = Comparison([("slow", Slow(30)), ("bf16", BF16)], [COLOR], GenerationSettings())
    time.sleep(0.2)
    found.stop(found.columns[0])
    found.wait(30)
    assert [c.state for c in found.columns] == ["stopped", "done"]


@needs_llama_cpp
def test_one_stopped_while_its_server_starts_has_not_failed(ggufs: Ggufs) -> None:
    llama = ggufs.backend()
    found = Comparison([("llama.cpp", llama), ("bf16", BF16)], [COLOR], GenerationSettings())
    while not found.columns[0].progress:
        time.sleep(0.01)
    found.stop(found.columns[0])
    found.wait(60)
    assert [c.state for c in found.columns] == ["stopped", "done"] and not found.columns[0].replies[0].error
    llama.close()


def test_what_cannot_be_compared_is_refused() -> None:
    for backends in ([("a", BF16)], [(str(n), BF16) for n in range(5)]):
        with pytest.raises(LensError, match="two to 4"):
            Comparison(backends, [COLOR], GenerationSettings())
    with pytest.raises(LensError, match="Nothing is asked"):
        Comparison([("a", BF16), ("b", FP32)], [], GenerationSettings())


def test_differences_are_marked() -> None:
    pieces = [("a ", False), ("small ", True), ("red\n ", False), ("circle", True)]
    assert marked("a small red\n circle", "a red square") == pieces
    assert marked("same", "same") == [("same", False)]
    assert marked("", "x") == []


def test_votes_are_kept() -> None:
    found = Comparison([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings())
    found.wait(60)
    found.vote(0, found.columns[1])
    (kept,) = votes()
    assert kept["preferred"] == "fp32" and kept["answers"] == {"bf16": "Red.", "fp32": "Red."} and not kept["blind"]
    assert tally([kept, kept]) == [("fp32", 2, 2), ("bf16", 0, 2)]


def test_a_vote_that_cannot_be_kept_is_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Comparison([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings())
    found.wait(60)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SMOLVLM_LENS_DATA", str(tmp_path / "file"))
    with pytest.raises(LensError, match="cannot be kept"):
        found.vote(0, found.columns[0])
    assert not found.voted


@needs_llama_cpp
def test_reports_hold_everything_and_fetch_nothing(ggufs: Ggufs) -> None:
    llama = ggufs.backend()
    found = Comparison([("<b>bf16</b>", BF16), ("llama.cpp", llama)], [COLOR], GenerationSettings())
    found.wait(120)
    told = json.loads(to_json(found))
    assert told["questions"][0]["fingerprint"] == COLOR[1].fingerprint and told["pictures"]["red"]
    assert set(told["backends"][1]["files_sha256"]) == {ggufs.text.name, ggufs.projector.name}
    page, text = to_html(found), to_markdown(found)
    for report in (page, text):
        assert "Red." in report and COLOR[1].fingerprint[:16] in report and ggufs.projector.name in report
    assert "data:image/png;base64," in page and "<b>bf16</b>" not in page.replace("<b>&lt;", "")
    assert not re.search(r"(src|href)=.?(http|//)", page)
    llama.close()


def test_a_verdict_is_kept_for_its_badge() -> None:
    assert verdicts.last(BF16) is None
    verdicts.keep(BF16, Verdict("blind", 0.999, cause="No projector."))
    verdicts.keep(BF16, Verdict("unchecked"))
    kept = verdicts.last(BF16)
    assert kept is not None and (kept.verdict, kept.cause) == ("blind", "No projector.")
    assert verdicts.last(FP32) is None


def test_what_a_server_was_found_to_be_is_asked_again_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing, blind = OpenAIBackend("http://127.0.0.1:1"), OpenAIBackend("http://127.0.0.1:2")
    verdicts.keep(seeing, Verdict("sees"))
    verdicts.keep(blind, Verdict("blind"))
    assert verdicts.last(seeing) and verdicts.last(blind) and not verdicts.is_due(seeing)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + verdicts.SERVER_SECONDS)
    assert verdicts.last(seeing) is None and verdicts.is_due(seeing)
    assert verdicts.last(blind) is not None and verdicts.is_due(blind), "a warning stays until it is asked again"


def test_a_verdict_does_not_outlive_a_change_of_the_files(tmp_path: Path) -> None:
    shutil.copytree(catalog.bundled().folder, tmp_path / "copy")
    backend = TransformersBackend(catalog.from_folder(tmp_path / "copy"))
    verdicts.keep(backend, Verdict("sees"))
    assert verdicts.last(backend) is not None
    os.utime(tmp_path / "copy" / "model.safetensors", (1, 1))
    assert verdicts.last(backend) is None


def test_a_backend_that_cannot_be_loaded_says_why(ggufs: Ggufs) -> None:
    """A failure comes after the figures of its warm-up: it must not read as stopped."""
    text, missing = read_gguf(ggufs.text), ggufs.text.with_name("missing.gguf")
    broken = LlamaCppBackend(spec_of(text, None), ServerOptions(missing, None, 256))
    found = Comparison([("broken", broken), ("bf16", BF16)], [COLOR], GenerationSettings())
    found.wait(60)
    assert [c.state for c in found.columns] == ["failed", "done"]
    assert "There is no file" in found.columns[0].replies[0].error

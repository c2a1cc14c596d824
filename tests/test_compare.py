"""Side by side: real backends on the same prompt, one failing, one stopped, votes, reports."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from smolvlm_core.access.users import Limits
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import Verdict
from smolvlm_core.check.verdicts import EXPIRES_SECONDS
from smolvlm_core.compare.columns import Unavailable, differences
from smolvlm_core.compare.report import to_html, to_json, to_markdown
from smolvlm_core.compare.run import Comparison
from smolvlm_core.compare.votes import tally
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.server import ServerOptions
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.workspace import Workspace
from tests.conftest import Ggufs, Wrapper, drawn
from tests.llama import needs_llama_cpp
from ui import state

PICTURES = {"red": drawn("red")}
POOL = state.shared_process().pool
BF16 = TransformersBackend(catalog.bundled(), pool=POOL)
FP32 = TransformersBackend(catalog.bundled(), "float32", pool=POOL)


def prompt(question: str) -> tuple[str, Prompt]:
    shown = (Attachment(kind="image", sha256="red", name="red.png", mime="image/png", width=300, height=300),)
    return question, build_prompt([Message("user", question, shown)], PICTURES.__getitem__)


COLOR, SHAPE = prompt("What color is the circle?"), prompt("What shape is it?")


class Slow(Wrapper):
    """The real model, but it waits before it begins and notes when it ran."""

    def __init__(self, wait_seconds: float = 0.0) -> None:
        super().__init__(BF16, "slow")
        self.wait_seconds = wait_seconds
        self.ran: list[tuple[float, float]] = []

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        began = time.monotonic()
        cancel.wait(self.wait_seconds)
        yield from BF16.generate(prompt, settings, cancel)
        self.ran.append((began, time.monotonic()))


@pytest.fixture
def compare(workspace: Workspace) -> Callable[..., Comparison]:
    """Starts a comparison of the test's own workspace."""
    return lambda *args, **more: workspace.comparisons.begin(*args, **more)[1]


def test_comparisons_that_begin_at_once_are_limited_together(workspace: Workspace) -> None:
    slow = Slow(30)
    workspace.limits = lambda: Limits(questions=1)
    begun: list[Comparison] = []

    def begin(_: int) -> str:
        try:
            begun.append(workspace.comparisons.begin([("a", slow), ("b", slow)], [COLOR], GenerationSettings())[1])
        except LensError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(16) as pool:
        refused = [text for text in pool.map(begin, range(16)) if text]
    for comparison in begun:
        comparison.stop()
        comparison.wait(60)
    assert len(begun) == 1 and all("1 of your comparisons" in text for text in refused)


def test_bf16_and_fp32_answer_the_same_prompt_with_their_figures(compare: Callable[..., Comparison]) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR, SHAPE], GenerationSettings())
    found.wait(120)
    assert found.done
    for column in found.columns:
        assert [r.text for r in column.answers] == ["Red.", "Circle."]
        assert all(r.stats.image_tokens == 180 and r.stats.prompt_fingerprint == p.fingerprint
                   for r, p in zip(column.answers, found.prompts))  # fmt: skip
        assert column.warm_seconds and column.revision.startswith("sha256")
        assert list(column.files) == ["model.safetensors"] and len(column.files["model.safetensors"]) == 64


def test_columns_of_one_device_take_turns(compare: Callable[..., Comparison]) -> None:
    first, second = Slow(0.05), Slow(0.05)
    compare([("a", first), ("b", second)], [COLOR], GenerationSettings()).wait(60)
    spans = sorted(first.ran + second.ran)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert OpenAIBackend("http://10.0.0.5:8000").device == "10.0.0.5"
    assert OpenAIBackend("http://localhost:8000").device == BF16.device == "this machine"


def test_a_failing_backend_does_not_block_the_others(compare: Callable[..., Comparison]) -> None:
    gone = OpenAIBackend("http://127.0.0.1:9")
    found = compare([("gone", gone), ("bf16", BF16)], [COLOR], GenerationSettings())
    found.wait(60)
    assert found.columns[0].state == "failed" and "Nothing answers" in found.columns[0].answers[0].error
    assert found.columns[1].answers[0].text == "Red."


def test_an_unavailable_backend_says_why_in_its_column(compare: Callable[..., Comparison]) -> None:
    lost = Unavailable("lost", LensError("There is no file x.gguf.", "Add it again."))
    found = compare([("lost", lost), ("bf16", BF16)], [COLOR, SHAPE], GenerationSettings())
    found.wait(60)
    assert [c.state for c in found.columns] == ["failed", "done"]
    assert "no file x.gguf" in found.columns[0].answers[0].error and found.reference(0) is found.columns[1]


def test_a_backend_that_refuses_every_question_has_failed(compare: Callable[..., Comparison]) -> None:
    class Refuses(Slow):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            if prompt.slots:
                raise LensError("No vision.")
            return super().generate(prompt, settings, cancel)

    found = compare([("no", Refuses()), ("bf16", BF16)], [COLOR, SHAPE], GenerationSettings())
    found.wait(60)
    assert found.columns[0].state == "failed" and [r.ended for r in found.columns[0].answers] == [True, True]


def test_an_incomplete_answer_is_marked_everywhere(compare: Callable[..., Comparison], workspace: Workspace) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings(max_new_tokens=2))
    found.wait(60)
    answer = found.columns[0].answers[0]
    assert answer.text and answer.why_incomplete.startswith("Cut after 2 tokens")
    answer.error = "The server ended."
    for report in (to_html(found, workspace.verdicts.last), to_markdown(found, workspace.verdicts.last)):
        assert answer.why_incomplete in report and answer.error in report and answer.text in report


def test_two_comparisons_take_turns_and_are_found_by_key(
    compare: Callable[..., Comparison], workspace: Workspace
) -> None:
    first = compare([("a", Slow(0.3)), ("b", Slow())], [COLOR], GenerationSettings())
    while first.columns[0].state == "waiting":
        time.sleep(0.01)
    key, second = workspace.comparisons.begin([("c", Slow()), ("d", Slow())], [COLOR], GenerationSettings())
    while not second.columns[0].progress:
        time.sleep(0.01)
    assert second.columns[0].state == "waiting" and "Waiting for another" in second.columns[0].progress
    second.wait(60)
    ran = [span for c in (*first.columns, *second.columns) for span in c.backend.ran]  # type: ignore[attr-defined]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(ran)))
    assert workspace.comparisons.find(key) is second and workspace.comparisons.find("nothing") is None


def test_waiting_for_a_turn_can_be_cancelled(workspace: Workspace) -> None:
    cancel = threading.Event()
    with (
        workspace.devices.acquire("a host", threading.Event(), lambda: None) as mine,
        workspace.devices.acquire("a host", cancel, cancel.set) as yours,
    ):
        assert mine and not yours
    with (
        workspace.devices.acquire("a host", threading.Event(), lambda: None) as free,
        workspace.devices.acquire("another", cancel, lambda: None) as given_up,
    ):
        assert free and not given_up


def test_the_order_does_not_reveal_the_names(compare: Callable[..., Comparison]) -> None:
    orders = set()
    for _ in range(12):
        found = compare([(n, Slow()) for n in "abcd"], [COLOR], GenerationSettings(), blind=True)
        found.stop()
        orders.add(tuple(c.name for c in found.shown))
        assert found.hides_names
    assert len(orders) > 1


def test_one_column_can_be_stopped(compare: Callable[..., Comparison]) -> None:
    found = compare([("slow", Slow(30)), ("bf16", BF16)], [COLOR], GenerationSettings())
    time.sleep(0.2)
    found.stop(found.columns[0])
    found.wait(30)
    assert [c.state for c in found.columns] == ["stopped", "done"]


@needs_llama_cpp
def test_a_column_stopped_while_its_server_starts_has_not_failed(
    ggufs: Ggufs, compare: Callable[..., Comparison]
) -> None:
    llama = ggufs.backend()
    found = compare([("llama.cpp", llama), ("bf16", BF16)], [COLOR], GenerationSettings())
    while not found.columns[0].progress:
        time.sleep(0.01)
    found.stop(found.columns[0])
    found.wait(60)
    assert [c.state for c in found.columns] == ["stopped", "done"] and not found.columns[0].answers[0].error
    llama.close()


def test_invalid_comparisons_are_refused(compare: Callable[..., Comparison]) -> None:
    for backends in ([("a", BF16)], [(str(n), BF16) for n in range(5)]):
        with pytest.raises(LensError, match="two to 4"):
            compare(backends, [COLOR], GenerationSettings())
    with pytest.raises(LensError, match="There is no question"):
        compare([("a", BF16), ("b", FP32)], [], GenerationSettings())


def test_differences_are_differences() -> None:
    pieces = [("a ", False), ("small ", True), ("red\n ", False), ("circle", True)]
    assert differences("a small red\n circle", "a red square") == pieces
    assert differences("same", "same") == [("same", False)]
    assert differences("", "x") == []


def test_votes_are_stored(compare: Callable[..., Comparison], workspace: Workspace) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings())
    found.wait(60)
    found.vote(0, found.columns[1])
    (kept,) = workspace.comparisons.votes.all()
    assert kept["preferred"] == "fp32" and kept["answers"] == {"bf16": "Red.", "fp32": "Red."} and not kept["blind"]
    assert tally([kept, kept]) == [("fp32", 2, 2), ("bf16", 0, 2)]


def test_a_vote_that_cannot_be_stored_is_not_counted(compare: Callable[..., Comparison], workspace: Workspace) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings())
    found.wait(60)
    (workspace.folder / "votes.jsonl").mkdir(parents=True)
    with pytest.raises(LensError, match="is not saved"):
        found.vote(0, found.columns[0])
    assert not found.voted


@needs_llama_cpp
def test_reports_contain_everything_and_fetch_nothing(
    ggufs: Ggufs, compare: Callable[..., Comparison], workspace: Workspace
) -> None:
    llama = ggufs.backend()
    found = compare([("<b>bf16</b>", BF16), ("llama.cpp", llama)], [COLOR], GenerationSettings())
    found.wait(120)
    told = json.loads(to_json(found, workspace.verdicts.last))
    assert told["questions"][0]["fingerprint"] == COLOR[1].fingerprint and told["pictures"]["red"]
    assert set(told["backends"][1]["files_sha256"]) == {ggufs.text.name, ggufs.projector.name}
    page, text = to_html(found, workspace.verdicts.last), to_markdown(found, workspace.verdicts.last)
    for report in (page, text):
        assert "Red." in report and COLOR[1].fingerprint[:16] in report and ggufs.projector.name in report
    assert "data:image/png;base64," in page and "<b>bf16</b>" not in page.replace("<b>&lt;", "")
    assert not re.search(r"(src|href)=.?(http|//)", page)
    llama.close()


def test_a_verdict_is_stored_for_its_badge(workspace: Workspace) -> None:
    assert workspace.verdicts.last(BF16) is None
    workspace.verdicts.save(BF16, Verdict("blind", 0.999, cause="No projector."))
    workspace.verdicts.save(BF16, Verdict("unchecked"))
    kept = workspace.verdicts.last(BF16)
    assert kept is not None and (kept.verdict, kept.cause) == ("blind", "No projector.")
    assert workspace.verdicts.last(FP32) is None


def test_a_server_that_sees_is_due_for_a_check_after_a_day(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    seeing, blind = OpenAIBackend("http://127.0.0.1:1"), OpenAIBackend("http://127.0.0.1:2")
    workspace.verdicts.save(seeing, Verdict("sees"))
    workspace.verdicts.save(blind, Verdict("blind"))
    assert workspace.verdicts.last(seeing) and workspace.verdicts.last(blind) and not workspace.verdicts.is_due(seeing)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + EXPIRES_SECONDS)
    assert workspace.verdicts.last(seeing) is None and workspace.verdicts.is_due(seeing)
    assert workspace.verdicts.last(blind) is not None and workspace.verdicts.is_due(blind), (
        "a warning stays until it is asked again"
    )


def test_a_verdict_does_not_outlive_a_change_of_the_files(tmp_path: Path, workspace: Workspace) -> None:
    shutil.copytree(catalog.bundled().folder, tmp_path / "copy")
    backend = TransformersBackend(catalog.from_folder(tmp_path / "copy"), pool=POOL)
    workspace.verdicts.save(backend, Verdict("sees"))
    assert workspace.verdicts.last(backend) is not None
    os.utime(tmp_path / "copy" / "model.safetensors", (1, 1))
    assert workspace.verdicts.last(backend) is None


def test_a_backend_that_cannot_be_loaded_says_why(ggufs: Ggufs, compare: Callable[..., Comparison]) -> None:
    """A failure comes after the figures of its warm-up: it must not read as stopped."""
    text, missing = read_gguf(ggufs.text), ggufs.text.with_name("missing.gguf")
    broken = LlamaCppBackend(spec_of(text, None), ServerOptions(missing, None, 256), pool=POOL)
    found = compare([("broken", broken), ("bf16", BF16)], [COLOR], GenerationSettings())
    found.wait(60)
    assert [c.state for c in found.columns] == ["failed", "done"]
    assert "There is no file" in found.columns[0].answers[0].error

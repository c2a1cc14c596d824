"""Side by side: real backends on the same prompt, one failing, one stopped, votes, reports."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smolvlm_core.access.users import Limits
from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.backends.hybrid.backend import HybridBackend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import Verdict
from smolvlm_core.check.verdicts import EXPIRES_SECONDS
from smolvlm_core.compare.columns import Unavailable, differences, was_encoded
from smolvlm_core.compare.report import to_html, to_json, to_markdown
from smolvlm_core.compare.run import Comparison
from smolvlm_core.compare.summary import machine, rows
from smolvlm_core.compare.votes import Ballot, tally
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.server import ServerOptions
from smolvlm_core.llamacpp.text import client as text_model
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Stats
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
        assert column.text_seconds and column.revision.startswith("sha256")
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
        orders.add(tuple(c.name for c in found.shown(0)))
        assert found.hides_names
    assert len(orders) > 1


def test_a_letter_means_another_backend_in_the_next_question(
    compare: Callable[..., Comparison], workspace: Workspace
) -> None:
    backends = [(name, Slow()) for name in "abcd"]
    found = compare(backends, [COLOR, SHAPE] * 6, GenerationSettings(max_new_tokens=1), blind=True)
    found.wait(60)
    orders = [[column.name for column in found.shown(n)] for n in range(12)]
    assert len({tuple(order) for order in orders}) > 1 and all(sorted(order) == list("abcd") for order in orders)
    for n in range(12):
        found.vote(n, Ballot(outcome="preferred", preferred=found.shown(n)[0].name))
        assert found.hides_names == (n < 11)
    told = json.loads(to_json(found, workspace.verdicts.last))
    assert [question["order"] for question in told["questions"]] == orders
    assert [question["vote"]["preferred"] for question in told["questions"]] == [order[0] for order in orders]
    assert [vote["order"] for vote in workspace.comparisons.votes.all()] == [tuple(order) for order in orders]


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
        with pytest.raises(LensError, match="Select 2 to 4"):
            compare(backends, [COLOR], GenerationSettings())
    with pytest.raises(LensError, match="Enter a question"):
        compare([("a", BF16), ("b", FP32)], [], GenerationSettings())


def test_differences_are_differences() -> None:
    pieces = [("a ", False), ("small ", True), ("red\n ", False), ("circle", True)]
    assert differences("a small red\n circle", "a red square") == pieces
    assert differences("same", "same") == [("same", False)]
    assert differences("", "x") == []


def test_votes_are_stored(compare: Callable[..., Comparison], workspace: Workspace) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR, SHAPE], GenerationSettings())
    found.wait(60)
    old = {"time": 1.7e9, "blind": True, "answers": {"bf16": "Red.", "fp32": "Blue.", "gone": ""}, "preferred": "bf16"}
    workspace.comparisons.votes.add(old)  # a line of an earlier version
    found.vote(0, Ballot(outcome="preferred", preferred="fp32"))
    found.vote(1, Ballot(outcome="bad"))
    kept = workspace.comparisons.votes.all()
    assert [(vote["outcome"], vote["preferred"]) for vote in kept] == [
        ("preferred", "bf16"),
        ("preferred", "fp32"),
        ("bad", ""),
    ]
    assert kept[1]["answers"] == {"bf16": "Red.", "fp32": "Red."} and not kept[1]["blind"]
    assert {s.name: s.describe() for s in tally(kept)} == {
        "bf16": "preferred 1 of 3 times, 1 both bad",
        "fp32": "preferred 1 of 3 times, 1 both bad",
    }
    report = to_markdown(found, workspace.verdicts.last)
    assert "Preferred: fp32" in report and "Both bad" in report and "1 preferred, 1 bad" in report


BACKENDS = "abc"
votes_of = st.lists(
    st.fixed_dictionaries(
        {
            "outcome": st.sampled_from(["preferred", "tie", "bad"]),
            "answers": st.dictionaries(st.sampled_from(BACKENDS), st.sampled_from(["", "Red."]), max_size=3),
            "preferred": st.sampled_from(["", *BACKENDS]),
        }
    )
)


@given(votes_of)
def test_the_tally_counts_each_vote_once_for_each_answer(votes: list[dict[str, Any]]) -> None:
    standings = {standing.name: standing for standing in tally(votes)}
    for name in BACKENDS:
        answered = [vote for vote in votes if vote["answers"].get(name)]
        assert (name in standings) == bool(answered)
        if answered:
            outcomes = Counter(vote["outcome"] for vote in answered)
            won = sum(vote["outcome"] == "preferred" and vote["preferred"] == name for vote in answered)
            found = standings[name]
            assert (found.times, found.preferred) == (len(answered), won)
            assert (found.ties, found.bad) == (outcomes["tie"], outcomes["bad"])
    rates = [standing.preferred / standing.times for standing in tally(votes)]
    assert rates == sorted(rates, reverse=True)


def test_a_vote_that_cannot_be_stored_is_not_counted(compare: Callable[..., Comparison], workspace: Workspace) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings())
    found.wait(60)
    (workspace.folder / "votes.jsonl").mkdir(parents=True)
    with pytest.raises(LensError, match="is not saved"):
        found.vote(0, Ballot(outcome="tie"))
    assert not found.voted


def reaches_for_caches(backend: Backend) -> None:
    """Warm answers use what is cached, cold ones do not, and leave the caches as they were."""
    question, settings = prompt(f"What color is the circle in {backend.kind}?")[1], GenerationSettings(max_new_tokens=2)

    def asked(which: Backend | None) -> Stats:
        assert which is not None
        return collect(which.generate(question, settings, threading.Event())).stats

    asked(backend)
    for _ in range(2):
        warm, cold = asked(backend), asked(backend.cold())
        assert was_encoded(warm) and warm.reused_tokens > 180
        assert cold.reused_tokens == cold.known_tiles == 0 and not was_encoded(cold)


def test_a_cold_answer_encodes_everything_again() -> None:
    reaches_for_caches(BF16)


@pytest.mark.skipif(not text_model.is_installed(), reason="llama-cpp-python is not installed")
def test_a_cold_answer_of_the_hybrid_backend_reuses_nothing() -> None:
    backend = HybridBackend(catalog.bundled(), pool=POOL)
    reaches_for_caches(backend)
    backend.close()


@needs_llama_cpp
def test_a_cold_answer_of_llama_server_reuses_nothing(ggufs: Ggufs) -> None:
    backend = ggufs.backend()
    reaches_for_caches(backend)
    backend.close()


def test_a_comparison_shows_cold_and_warm_side_by_side(
    compare: Callable[..., Comparison], workspace: Workspace
) -> None:
    """A server that caches as it likes is asked all the same, and its column says so."""
    collect(BF16.generate(SHAPE[1], GenerationSettings(), threading.Event()))  # a picture that is known
    asked = [("bf16", BF16), ("own caches", Slow())]
    warm = compare(asked, [SHAPE], GenerationSettings())
    warm.wait(60)
    both = compare(asked, [SHAPE], GenerationSettings(), caching="both")
    both.wait(60)
    for column in warm.columns:
        stats = column.answers[0].stats
        assert stats is not None and was_encoded(stats) and column.answers[0].again is None
    known, unknown = both.columns
    assert known.can_be_cold and not unknown.can_be_cold
    first, again = known.answers[0].stats, known.answers[0].again
    assert first is not None and not was_encoded(first) and again is not None and was_encoded(again)
    assert known.revision and known.revision == warm.columns[0].revision
    told = json.loads(to_json(both, workspace.verdicts.last))
    assert [row["can_be_cold"] for row in told["summary"]] == [True, False]
    assert re.search(r"\d s cold, \d\.\d\d s warm", to_html(both, workspace.verdicts.last))
    assert re.search(r"\d s first, \d\.\d\d s again", to_markdown(both, workspace.verdicts.last))


def test_a_cold_comparison_is_cold_without_pictures_too(compare: Callable[..., Comparison]) -> None:
    asked: list[tuple[bool, bool]] = []  # with pictures, cold

    class Noting(TransformersBackend):
        def generate(self, prompt: Prompt, *rest: Any) -> Iterator[Event]:
            asked.append((bool(prompt.slots), self._cold))
            return super().generate(prompt, *rest)

    backends = [("noting", Noting(catalog.bundled(), pool=POOL)), ("fp32", FP32)]
    for caching in ("warm", "cold", "both"):
        found = compare(backends, [COLOR, SHAPE], GenerationSettings(max_new_tokens=2), caching=caching)
        found.wait(60)
        assert found.columns[0].revision == found.columns[1].revision != ""
    warm, cold, both = asked[:3], asked[3:6], asked[6:]
    assert warm == [(False, False), (True, False), (True, False)]
    assert cold == [(False, True), (True, True), (True, True)]
    assert both == [(False, True), (True, True), (True, False), (True, True), (True, False)]


def test_two_ties_are_ties(compare: Callable[..., Comparison], workspace: Workspace) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR, SHAPE], GenerationSettings(max_new_tokens=2))
    found.wait(60)
    for question in range(2):
        found.vote(question, Ballot(outcome="tie"))
        assert [row.cells()[5] for row in rows(found, workspace.verdicts.last)] == [("1 tie", "2 ties")[question]] * 2


def test_every_report_says_which_machine_and_names_nobody(
    compare: Callable[..., Comparison], workspace: Workspace
) -> None:
    found = compare([("bf16", BF16), ("fp32", FP32)], [COLOR], GenerationSettings())
    found.wait(60)
    workspace.verdicts.save(BF16, Verdict("sees"))
    told = machine()
    assert told.keys() == {"CPU", "GPU", "Memory", "System", "Versions"} and all(told.values())
    assert f"torch {torch.__version__}" in told["Versions"] and "SmolVLM Lens 0" in told["Versions"]
    for name in (socket.gethostname(), getpass.getuser(), str(Path.home())):
        assert len(name) < 3 or name not in " ".join(told.values()).split()
    for report in (to_html, to_markdown, to_json):
        text = report(found, workspace.verdicts.last).replace("\\", "")
        assert told["CPU"] in text and told["System"] in text and "transformers" in text
    (row, other) = (row.cells() for row in rows(found, workspace.verdicts.last))
    assert row[:2] == ("bf16", "1 of 1") and row[-1] == "sees" and other[-1] == "not checked"


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

"""The vision check: its statistics, its drawings, and its verdict on deployments that see and that do not."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smolvlm_core.backends.base import Backend, Capabilities
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.remote.faults import error_of
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import check, words
from smolvlm_core.check.canaries import COLORS, COLUMNS, SHAPES, STRIP, WAYS, Canary, Subject, chosen, draw_canaries
from smolvlm_core.check.diagnose import likely_cause
from smolvlm_core.check.run import MOST_QUESTIONS, Verdict
from smolvlm_core.check.statistics import (
    CORRELATION,
    ERROR,
    chance_of_as_many,
    confidence,
    likelier_of_the_worse,
    standing,
)
from smolvlm_core.check.stored import MOST_FILES, StoredChecks
from smolvlm_core.check.verdicts import Verdicts
from smolvlm_core.cli import main
from smolvlm_core.errors import BackendError
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt, Turn
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.prompt.geometry import VisionGeometry
from smolvlm_core.prompt.prefix import common_prefix
from smolvlm_core.prompt.template import IMAGE
from tests.conftest import Ggufs, Wrapper
from tests.llama import needs_llama_cpp


def verdicts_of(rate: float, correlation: float = 0.0) -> dict[str, float]:
    """The exact probability of each verdict on a model that is right so often. `correlation`: of its two answers about an image."""
    said = cache(lambda asked, right: standing([(n < right, 4) for n in range(asked)]))
    reached, out = (
        {(0, False): 1.0},
        dict.fromkeys(("sees", "degraded", "blind"), 0.0),
    )  # (right so far, the last one was)
    for asked in range(1, MOST_QUESTIONS + 1):
        next_reached: dict[tuple[int, bool], float] = {}
        for (right, last), p in reached.items():
            for now in (True, False):
                q = p * (rate if now else 1 - rate)
                if asked % 2 == 0:
                    q = (1 - correlation) * q + correlation * p * (now == last)
                if (verdict := said(asked, right + now)) is not None:
                    out[verdict] += q
                else:
                    next_reached[right + now, now] = next_reached.get((right + now, now), 0.0) + q
        reached = next_reached
    for (right, _), p in reached.items():
        out[likelier_of_the_worse([(n < right, 4) for n in range(MOST_QUESTIONS)])] += p
    return out


@pytest.mark.parametrize(
    ("rate", "correlation", "verdict"),
    [
        (0.1, 0.0, "blind"),
        (
            0.25,
            0.0,
            "blind",
        ),  # guesses: the two answers are independent, see test_neither_question_tells_about_the_other
        (0.55, 0.0, "degraded"),
        (0.55, CORRELATION, "degraded"),
        (0.95, 0.0, "sees"),
        (0.95, CORRELATION, "sees"),
        (1.0, 0.0, "sees"),
    ],
)
def test_wrong_verdicts_are_as_rare_as_stated(rate: float, correlation: float, verdict: str) -> None:
    found = verdicts_of(rate, correlation)
    assert sum(found.values()) == pytest.approx(1)
    assert all(p < ERROR for name, p in found.items() if name != verdict)
    if verdict != "degraded":
        assert found[{"sees": "blind", "blind": "sees"}[verdict]] < 1e-8


def test_rates_of_wrong_verdicts() -> None:
    """The figures of docs/vision-check.md."""
    assert verdicts_of(0.95, CORRELATION)["degraded"] == pytest.approx(1 / 3_100, rel=0.05)
    assert verdicts_of(0.55, CORRELATION)["blind"] == pytest.approx(1 / 1_090, rel=0.05)
    assert verdicts_of(0.55, CORRELATION)["sees"] == pytest.approx(1 / 1_500, rel=0.05)
    assert verdicts_of(0.25)["degraded"] == pytest.approx(1 / 1_450, rel=0.05)
    assert verdicts_of(0.25)["sees"] == pytest.approx(1 / 65e9, rel=0.05)


@given(st.lists(st.booleans(), max_size=80))
def test_confidences_are_shares_of_one(answers: list[bool]) -> None:
    outcomes = [(right, 4) for right in answers]
    shares = [confidence(outcomes, of) for of in ("sees", "degraded", "blind")]
    assert abs(sum(shares) - 1) < 1e-9
    said = standing(outcomes)
    assert said is None or confidence(outcomes, said) > 0.99


def test_the_exact_binomial_probability() -> None:
    assert chance_of_as_many(0, 10, 4) == pytest.approx(1)
    assert chance_of_as_many(10, 10, 4) == pytest.approx(0.25**10)
    assert chance_of_as_many(2, 2, 2) == pytest.approx(0.25)


@pytest.mark.parametrize("subject", get_args(Subject))
def test_canaries_are_fresh_and_their_answers_even(subject: Subject) -> None:
    pairs = [draw_canaries(random.Random(seed), subject) for seed in range(400)]
    assert len({first.encoded for first, _ in pairs}) == 400
    assert all(first.encoded == second.encoded and first.question != second.question for first, second in pairs)
    for drawn in ([first for first, _ in pairs], [second for _, second in pairs]):
        places = [c.options.index(c.right) for c in drawn]
        assert all(len(c.options) == 4 for c in drawn)
        assert all(0.15 < places.count(place) / 400 < 0.35 for place in range(4)), "the options are shuffled"
        for pool in (tuple(COLORS), SHAPES, tuple(WAYS)):
            mine = [c.right for c in drawn if set(c.options) == set(pool)]
            assert all(0.15 < mine.count(option) / len(mine) < 0.35 for option in pool if mine)
        for canary in drawn:
            if subject != "clips" or canary.right in WAYS:
                assert canary.question.endswith(f"{', '.join(canary.options[:-1])} or {canary.options[-1]}.")


@pytest.mark.parametrize("subject", get_args(Subject))
def test_neither_question_tells_about_the_other(subject: Subject) -> None:
    """Asked "What color is the heart?" and "What shape is red?", a blind model that says red for hearts and heart for red would
    be right about both or neither: two questions would count that are one."""
    for seed in range(100):
        first, second = draw_canaries(random.Random(seed), subject)
        for canary, other in ((first, second), (second, first)):
            assert not {other.right, *other.options} & set(re.findall(r"\w+", canary.question.lower()))
    pairs = [draw_canaries(random.Random(seed), subject) for seed in range(800)]
    together = Counter((a.options.index(a.right), b.options.index(b.right)) for a, b in pairs)
    assert len(together) == 16 and all(22 < n < 82 for n in together.values()), (
        together
    )  # 50, and four standard deviations


@pytest.mark.parametrize("spec", catalog.PUBLISHED, ids=lambda spec: spec.key)
def test_a_strip_costs_few_tiles_and_fits_into_one(spec: ModelSpec) -> None:
    """A square would be 16 tiles and an overview."""
    rows, columns = spec.geometry.grid(*STRIP)
    assert (rows, columns) == (1, COLUMNS) == (1, 4)
    for seed in range(60):
        drawn = np.asarray(draw_canaries(random.Random(seed), "shapes")[0].pictures[0].convert("RGB")).astype(int)
        _, x = np.nonzero(np.abs(drawn - drawn[0, 0]).sum(2) > 60)
        assert x.min() // STRIP[1] == x.max() // STRIP[1], "the shape crosses the edge of a tile"


def test_a_digit_and_a_word_have_a_tile_each() -> None:
    for seed in range(60):
        drawn = np.asarray(draw_canaries(random.Random(seed), "text")[0].pictures[0].convert("RGB")).astype(int)
        inked = (np.abs(drawn - drawn[0, 0]).sum(2) > 60).any(0).reshape(COLUMNS, STRIP[1])
        assert inked.any(1).sum() == 2
        assert not inked[:, [0, -1]].any(), "a character touches the edge of a tile"


def test_clips_change_from_their_first_frame_to_their_last() -> None:
    for seed in range(60):
        clip, _ = draw_canaries(random.Random(seed), "clips")
        first, last = clip.pictures[0], clip.pictures[-1]
        assert len(clip.pictures) == 4 and first.tobytes() != last.tobytes()


def test_one_frame_of_a_moving_shape_fits_two_ways() -> None:
    """It ends where another way could end as well."""
    ends: dict[str, set[tuple[bool, bool]]] = {way: set() for way in WAYS}
    for seed in range(200):
        clip = next(c for c in draw_canaries(random.Random(seed), "clips") if c.right in WAYS)
        drawn = np.asarray(clip.pictures[-1].convert("RGB")).astype(int)
        rows, columns = np.nonzero(np.abs(drawn - drawn[0, 0]).sum(2) > 60)
        ends[clip.right].add((columns.mean() > drawn.shape[1] / 2, rows.mean() > drawn.shape[0] / 2))
    assert ends["right"] == {(True, False), (True, True)} and ends["left"] == {(False, False), (False, True)}
    assert ends["down"] == {(False, True), (True, True)} and ends["up"] == {(False, False), (True, False)}


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Red.", "red"),
        ("The circle appears to be RED!", "red"),
        ("red or blue", None),
        ("I cannot see any image.", None),
        ("reddish", None),
        ("", None),
    ],
)
def test_answers_may_be_phrased_freely(answer: str, named: str | None) -> None:
    assert chosen(answer, tuple(COLORS)) == named


def test_digits_in_words_and_ways_in_their_other_forms_are_understood() -> None:
    assert chosen("The digit is seven.", ("1", "7", "0", "4")) == "7"
    assert chosen("7", ("1", "7", "17", "4")) == "7" and chosen("17", ("1", "7", "0", "4")) is None
    assert chosen("It moves upwards.", tuple(WAYS)) == "up" and chosen("To the left.", tuple(WAYS)) == "left"


class Blinded(Wrapper):
    """A real deployment whose pictures never arrive: the prompt goes on without them."""

    def __init__(self, inner: TransformersBackend, show: Image.Image | None = None) -> None:
        super().__init__(inner, "blinded")
        self.show = show

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        if self.show is None:
            turns = tuple(Turn(t.role, t.content.replace(IMAGE, "")) for t in prompt.turns)
            return self.inner.generate(Prompt(turns, ()), settings, cancel)
        shown = self.show
        slots = tuple(
            replace(s, sha256="same", width=shown.width, height=shown.height, open=lambda: shown) for s in prompt.slots
        )
        return self.inner.generate(Prompt(prompt.turns, slots), settings, cancel)


def test_the_healthy_model_sees(backend: TransformersBackend) -> None:
    found = check(backend, seed=1)
    assert found.verdict == "sees" and found.confidence > 0.99 and found.chance < 0.001
    assert {s: f.standing for s, f in found.subjects.items()} == {"shapes": "sees", "clips": "sees"}
    assert found.accuracy("its picture", "shapes")[1] >= 12
    for condition in ("no picture", "a blank picture"):
        right, asked = found.accuracy(condition, "shapes")
        assert asked == 4 and right <= 2


class Flawless(Backend):
    """A server that keeps its last prompt, counts the tiles it encodes, and is always right."""

    kind = "test"
    name = "flawless"
    spec = catalog.PUBLISHED[-1]

    def __init__(self, geometry: VisionGeometry, monkeypatch: pytest.MonkeyPatch, *, cuts_frames: bool) -> None:
        self.geometry, self.cuts_frames = geometry, cuts_frames
        self.right: dict[str, str] = {}
        self.last: tuple[str, ...] = ()
        self.tiles = 0
        monkeypatch.setattr("smolvlm_core.check.run.draw_canaries", self.draw)

    def draw(self, rng: random.Random, subject: Subject) -> tuple[Canary, Canary]:
        pair = draw_canaries(rng, subject)
        self.right |= {canary.question: canary.right for canary in pair}
        return pair

    def identity(self) -> str:
        return self.name

    def capabilities(self) -> Capabilities:
        return Capabilities(images=True, video=True, streaming=True, context_tokens=8192)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        shown = tuple(slot.sha256 for slot in prompt.slots)
        new = list(prompt.slots)[common_prefix(shown, self.last) :]
        tokens = self.geometry.image_tokens([replace(s, tiled=s.tiled or self.cuts_frames) for s in new])
        self.tiles += tokens // self.geometry.tokens_per_tile
        self.last = shown
        yield Delta(next(right for text, right in self.right.items() if prompt.turns[-1].content.endswith(text)))
        yield Stats("end", prompt_tokens=20 + tokens)


@pytest.mark.parametrize(
    ("always_overview", "cuts_frames", "subjects", "questions", "tiles"),
    [
        (False, False, ("shapes",), 29, 50),
        (False, False, None, 75, 140),  # transformers
        (True, False, None, 75, 180),  # llama.cpp
        (True, True, None, 75, 460),  # through the OpenAI API
    ],
)
def test_a_check_encodes_few_tiles(
    monkeypatch: pytest.MonkeyPatch,
    always_overview: bool,
    cuts_frames: bool,
    subjects: tuple[Subject, ...] | None,
    questions: int,
    tiles: int,
) -> None:
    """The figures of docs/vision-check.md. Each image is encoded once, and one blank one per subject."""
    server = Flawless(VisionGeometry(512, 2048, 64, always_overview), monkeypatch, cuts_frames=cuts_frames)
    found = check(server, seed=1, subjects=subjects)
    assert found.verdict == "sees"
    assert (len(found.asked), server.tiles) == (questions, tiles)


def test_a_model_that_cannot_read_is_degraded_if_text_is_checked(backend: TransformersBackend) -> None:
    found = check(backend, seed=1, subjects=("text",))
    assert found.verdict == "degraded" and found.subjects["shapes"].standing == "sees"
    assert found.subjects["text"].standing == "blind" and "not reliably digits and words" in found.cause
    assert not backend.reads_text


@pytest.mark.parametrize("kept", [0, -1])
def test_a_server_that_uses_only_one_frame_is_degraded(backend: TransformersBackend, kept: int) -> None:
    class OneFrame(Blinded):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            shown = (prompt.slots[kept],) * len(prompt.slots) if prompt.slots else ()
            return self.inner.generate(Prompt(prompt.turns, shown), settings, cancel)

    found = check(OneFrame(backend), seed=2)
    assert found.verdict == "degraded" and found.subjects["clips"].standing in ("blind", "degraded")
    assert "clips" in found.cause


def test_dropped_pictures_make_a_backend_blind(backend: TransformersBackend) -> None:
    found = check(Blinded(backend), seed=1)
    assert found.verdict == "blind"
    assert "dropped on the way" in found.cause and found.fix


def test_a_backend_that_shows_the_model_other_pictures_is_blind(backend: TransformersBackend) -> None:
    noise = Image.effect_noise((384, 384), 90).convert("RGB")
    found = check(Blinded(backend, noise), seed=1)
    assert found.verdict == "blind" and "dropped" not in found.cause


def test_an_unrelated_refusal_is_not_blindness(backend: TransformersBackend) -> None:
    class Refuses(Blinded):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            raise BackendError("The server refused: Failed to fetch image_url.", "It may lack its projector.")

    assert check(Refuses(backend)).verdict == "unchecked"


@pytest.mark.parametrize(
    "said",
    [
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",  # llama-server
        "Qwen3-0.6B is not a multimodal model",  # vLLM
        "At most 0 image(s) may be provided in one prompt.",  # vLLM
        "this model is missing data required for image input",  # Ollama
    ],
)
def test_a_server_that_refuses_pictures_has_no_vision(backend: TransformersBackend, said: str) -> None:
    class Refuses(Blinded):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            raise error_of(said)

    assert check(Refuses(backend)).verdict == "blind"


def test_a_backend_that_refuses_only_clips_is_degraded(backend: TransformersBackend) -> None:
    class OnePicture(Blinded):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            if len(prompt.slots) > 1:
                raise BackendError("At most 1 image may be provided.", "Allow more.")
            return self.inner.generate(prompt, settings, cancel)

    found = check(OnePicture(backend), seed=1, subjects=("shapes", "clips"))
    assert found.verdict == "degraded" and "At most 1 image" in found.cause and found.fix == "Allow more."


def test_thoughts_are_not_the_answer(backend: TransformersBackend) -> None:
    class Thinks(Blinded):
        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            yield Delta("<think>Is it red, green, blue or yellow? A circle, square, triangle, star?</think>")
            yield from self.inner.generate(prompt, settings, cancel)

    assert check(Thinks(backend), seed=1, subjects=("shapes",)).verdict == "sees"


def test_what_a_check_asked_outlives_a_restart_and_goes_with_its_verdict(
    backend: TransformersBackend, tmp_path: Path
) -> None:
    found = check(backend, seed=3)
    long = replace(found.asked[0], answer="x" * 5000)
    Verdicts(tmp_path).save(backend, replace(found, asked=[long, *found.asked[1:]]))
    (path,) = (tmp_path / "checks").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size < 2**20
    again = Verdicts(tmp_path).check_of(backend)
    assert again is not None and again.asked[0].answer.endswith("… (3,000 more characters)")
    assert replace(again, asked=found.asked) == found and again.asked[1:] == found.asked[1:]
    assert [words.correct(again, subject) for subject in words.SUBJECTS] == [
        words.correct(found, subject) for subject in words.SUBJECTS
    ]
    verdicts = Verdicts(tmp_path)
    verdicts.forget(backend)
    assert not path.exists() and verdicts.last(backend) is None and verdicts.check_of(backend) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"shown": 0', '"shown": 9999'),
        lambda text: re.sub(r'(?<="pictures": \[)\s*"[^"]+"', '"iVBORw0KGgo="', text, count=1),
        lambda text: re.sub(r'"condition": "[^"]+"', '"condition": "another"', text, count=1),
        lambda text: "[]",
    ],
)
def test_damaged_questions_of_a_check_are_left_out(
    backend: TransformersBackend, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    verdicts = Verdicts(tmp_path)
    verdicts.save(backend, check(backend, seed=3, subjects=["shapes"]))
    (path,) = (tmp_path / "checks").iterdir()
    whole = path.read_text()
    assert damage(whole) != whole
    path.write_text(damage(whole))
    assert verdicts.last(backend) is not None and verdicts.check_of(backend) is None


def test_the_checks_of_a_bounded_number_of_backends_are_stored(tmp_path: Path) -> None:
    stored = StoredChecks(tmp_path)
    for number in range(MOST_FILES + 5):
        stored.save(str(number), Verdict("blind", 1.0))
        os.utime(stored._path(str(number)), (number, number))
    assert len(list((tmp_path / "checks").iterdir())) == MOST_FILES
    assert stored.find("4") is None and stored.find("5") is not None


def test_a_check_can_be_stopped(backend: TransformersBackend) -> None:
    stop = threading.Event()
    found = check(backend, report=lambda done, text: stop.set() if done == 5 else None, cancel=stop)
    assert found.verdict == "unchecked" and len(found.asked) == 5


@needs_llama_cpp
@pytest.mark.parametrize("which", ["text", "quantized"])
def test_llama_cpp_with_the_projector_sees(ggufs: Ggufs, which: str) -> None:
    text = getattr(ggufs, which)
    spec = spec_of(read_gguf(text), read_gguf(ggufs.projector))
    backend = LlamaCppBackend(spec, ServerOptions(text, ggufs.projector, 2048), pool=ggufs.pool)
    assert check(backend, seed=3).verdict == "sees"
    backend.close()


@needs_llama_cpp
def test_the_same_server_sees_through_the_openai_api(ggufs: Ggufs) -> None:
    server = LlamaServer.start(ggufs.options(), lambda *_: None)
    found = check(OpenAIBackend(server.url), seed=3)
    server.stop()
    assert found.verdict == "sees" and set(found.subjects) == {"shapes", "clips"}


def test_a_projector_of_another_checkpoint_is_the_likely_cause(ggufs: Ggufs, tmp_path: Path) -> None:
    other = shutil.copytree(str(catalog.bundled().folder), tmp_path / "another-model")
    made = convert(Path(other), tmp_path / "gguf")
    spec = spec_of(read_gguf(ggufs.text), read_gguf(made.projector.path))
    backend = LlamaCppBackend(spec, ServerOptions(ggufs.text, made.projector.path, 2048), pool=ggufs.pool)
    cause, fix = likely_cause(backend, verdict="blind")
    assert "projector is of another model" in cause and "another-model" in cause and "convert" in fix
    assert "No cause was found" in likely_cause(ggufs.backend(), verdict="blind")[0]


@needs_llama_cpp
def test_a_chatml_template_is_the_likely_cause(ggufs: Ggufs, monkeypatch: pytest.MonkeyPatch) -> None:
    def served() -> LlamaServer:
        return LlamaServer.start(ggufs.options(), lambda *_: None)

    whole = served()
    assert "No cause was found" in likely_cause(OpenAIBackend(whole.url), verdict="blind")[0]
    whole.stop()
    monkeypatch.setattr(
        "smolvlm_core.llamacpp.server.TEMPLATE",
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
    )
    broken = served()
    cause, fix = likely_cause(OpenAIBackend(broken.url), verdict="blind")
    broken.stop()
    assert "the chat template is ChatML" in cause and "smolvlm_core serve" in fix


@needs_llama_cpp
def test_a_context_too_small_for_a_clip_is_reported(ggufs: Ggufs) -> None:
    spec = spec_of(read_gguf(ggufs.text), read_gguf(ggufs.projector))
    backend = LlamaCppBackend(
        spec, ServerOptions(ggufs.text, ggufs.projector, 64), pool=ggufs.pool
    )  # llama-server makes it 256
    found = check(backend, seed=1)
    backend.close()
    assert found.verdict in ("degraded", "unchecked") and "larger context" in found.fix


@needs_llama_cpp
def test_a_text_model_alone_is_blind_with_cause_and_fix(ggufs: Ggufs) -> None:
    backend = LlamaCppBackend(
        spec_of(read_gguf(ggufs.text), None), ServerOptions(ggufs.text, None, 2048), pool=ggufs.pool
    )
    found = check(backend)
    assert found.verdict == "blind" and "projector" in found.cause and "convert" in found.fix


def test_the_exit_code_follows_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--backend", catalog.BUNDLED, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "sees" and told["questions"] == len(told["asked"]) >= 16
    assert main(["check", "--url", "http://127.0.0.1:9"]) == 3
    assert "UNCHECKED" in capsys.readouterr().out
    assert main(["check", "--backend", "no such thing"]) == 3
    assert main(["check", "--url", ""]) == 3
    with pytest.raises(SystemExit) as wrong:
        main(["check", "--bakcend", "x"])
    assert wrong.value.code == 3


def test_a_bug_does_not_read_as_a_verdict(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smolvlm_core.backends.registry.Registry.make", lambda *_: 1 / 0)
    assert main(["check", "--backend", catalog.BUNDLED]) == 3
    said = capsys.readouterr()
    assert "UNCHECKED" in said.out and "ZeroDivisionError" in said.err


@needs_llama_cpp
def test_convert_and_ask_by_command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path_factory.mktemp("converted")
    assert main(["convert", catalog.BUNDLED, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "smolvlm-shapes-F16.gguf: SEES" in said.err and "mmproj-smolvlm-shapes-F16.gguf" in said.out
    picture = str(catalog.bundled().folder.parent.parent / "assets/gallery/1-red-circle.png")
    asked = ["ask", "--model", str(out / "smolvlm-shapes-F16.gguf"), "--image", picture, "What color is the circle?"]
    assert main(asked) == 0
    assert capsys.readouterr().out.strip() == "Red."

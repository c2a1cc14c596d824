"""Moments: the probability of yes, wordings, where answers change, and moments of drawn clips that are known."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.moments import FPS, STORIES, Score, Story, compare
from smolvlm_core.backends.base import Capabilities, Reply
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.cli import main
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Stats, TokenLogprob
from smolvlm_core.timeline.moments.curve import Curve
from smolvlm_core.timeline.moments.edges import word_edges, yes_edges
from smolvlm_core.timeline.moments.find import find_moments
from smolvlm_core.timeline.moments.plan import plan_for
from smolvlm_core.timeline.moments.wording import WORDS, WordingError, wording_of
from smolvlm_core.timeline.yes import read_word, read_yes
from smolvlm_core.video import open_clip
from smolvlm_core.workspace import Workspace
from tests.conftest import Wrapper
from training.films import write_film

SECONDS = 16
END = {
    "appear, disappear": 1.5,
    "change color": 1.5,
    "change direction": 4.0,
    "never there": 0.0,
}  # seconds that are cut off


def reply(text: str, *top: tuple[str, float]) -> Reply:
    tokens = (TokenLogprob(top[0][0], math.log(top[0][1]), tuple((t, math.log(p)) for t, p in top)),) if top else ()
    return Reply(text=text, stats=Stats("end"), logprobs=tokens)


def test_yes_is_read_from_all_its_spellings() -> None:
    assert read_yes(reply("Yes", (" Yes", 0.5), ("yes", 0.1), (" No", 0.3), ("No", 0.1))).probability == pytest.approx(
        0.6
    )
    assert read_yes(reply("Maybe", (" Maybe", 0.6), (" Yes", 0.06), (" No", 0.02))).probability == pytest.approx(0.75)
    unclear = read_yes(reply("Red", (" Red", 0.97), (" Yes", 0.01), (" No", 0.01)))
    assert unclear.probability is None and not unclear.word, "nearly nothing on yes or no is no answer"
    assert read_yes(reply("No, there is none")).probability == 0.0, "without probabilities, the word counts"
    assert read_yes(reply("There is one")).probability is None


def test_a_word_is_read_where_it_is_said() -> None:
    tokens = (TokenLogprob(" To", -0.1), TokenLogprob(" the", -0.2), TokenLogprob(" left", math.log(0.7)))
    said = read_word(Reply(text="To the left", stats=Stats("end"), logprobs=tokens), WORDS["way"])
    assert (said.word, said.probability) == ("left", pytest.approx(0.7))
    assert not read_word(reply("It does not move."), WORDS["way"]).word


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("When does the red ball appear?", "Is there a red ball in the picture?"),
        ("when does an orange star show up", "Is there an orange star in the picture?"),
        ("When do the dogs leave the room?", "Are there any dogs in the picture?"),
        ("When does my dog disappear?", "Is my dog in the picture?"),
        ("When does the circle turn red?", "Is there a red circle in the picture?"),
        ("When does the blue circle change colour to red?", "Is there a red circle in the picture?"),
        ("When does the sky become dark?", "Is the sky dark?"),
        ("When does the circle change colour?", "What color is the circle?"),
        ("When does the red circle change direction?", "Which way does the red circle move?"),
        ("When does it start moving to the left?", "Which way does it move?"),
        ("When is the door open?", "Is the door open?"),
        ("is there a red circle", "Is there a red circle?"),
    ],
)
def test_questions_are_asked_about_each_frame(typed: str, asked: str) -> None:
    assert wording_of(typed).asked == asked


@pytest.mark.parametrize("typed", ["", "What happens?", "Describe the clip.", "When?"])
def test_other_questions_are_refused_with_examples(typed: str) -> None:
    with pytest.raises(WordingError, match="Is there a red circle"):
        wording_of(typed)


def test_single_wrong_answers_change_nothing() -> None:
    yes = [0.0, 0.1, 1.0, 0.1, 0.0, 0.9, 1.0, 0.2, 0.9, None, 0.9, 0.0, 0.1]
    assert [(e.before, e.after, e.new) for e in yes_edges(yes)] == [(4, 5, "yes"), (10, 11, "no")]
    assert yes_edges([0.45, 0.55, 0.45, 0.55, 0.45, 0.55]) == [], "near one half, nothing is certain"
    assert yes_edges([0.9]) == yes_edges([]) == []
    words = ["red", "red", "", "blue", "red", "red", "blue", "", "blue"]
    assert [(e.before, e.after, e.old, e.new) for e in word_edges(words)] == [(5, 6, "red", "blue")]


def story(kind: str, seed: int) -> Story:
    made = STORIES[kind](random.Random(seed))
    scenes = made.scenes[: SECONDS * FPS]
    asked = {question: [t for t in times if t < SECONDS - END[made.kind]] for question, times in made.asked.items()}
    return replace(made, scenes=scenes, asked=asked)


def search(path: Path, question: str, backend: object, cancel: threading.Event | None = None) -> Curve:
    clip = open_clip(path)
    clip.close()
    wording = wording_of(question)
    plan = plan_for(clip.facts, wording)
    return find_moments(path, clip.facts, wording, backend, plan, cancel or threading.Event())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(STORIES))
def test_moments_of_drawn_clips(kind: str, backend: TransformersBackend, tmp_path: Path) -> None:
    """A small sample of benchmarks/moments.py, which has the figures."""
    score, wrong = Score(), []
    for seed in (7_100_002,):
        made = story(kind, seed)
        path = write_film(tmp_path / f"{seed}.mp4", made.scenes, FPS)
        for question, known in made.asked.items():
            curve = search(path, question, backend)
            # What changes in the last moments of the film is cut off: it may be found or not.
            found = tuple(moment for moment in curve.moments if moment.seconds < SECONDS - END[kind])
            wrong += compare(replace(curve, moments=found), known, score)
    assert not wrong, wrong
    assert score.found == score.moments and (score.moments > 0) == (kind != "never there")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[float]]:
    made = story("appear, disappear", 7_300_001)
    question, known = next(iter(made.asked.items()))
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", made.scenes, FPS), question, known


class WithoutLogprobs(Wrapper):
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities(), logprobs=False)


class StoppedWhileLoading(Wrapper):
    def __init__(self, inner: TransformersBackend, stop: threading.Event) -> None:
        super().__init__(inner)
        self.stop = stop

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        self.stop.set()
        raise BackendError("The model was not loaded.")


class Stopping(Wrapper):
    """Sets an event after some answers, or fails."""

    stop: threading.Event | None = None
    answers = 0

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        self.answers += 1
        if self.answers == 5:
            if self.stop is None:
                raise BackendError("The server is gone.")
            self.stop.set()
        yield from super().generate(prompt, settings, cancel)


def test_without_probabilities_the_word_counts(
    backend: TransformersBackend, film: tuple[Path, str, list[float]]
) -> None:
    path, question, known = film
    curve = search(path, question, WithoutLogprobs(backend))
    assert set(curve.probabilities) == {0.0, 1.0}
    assert any("no probabilities" in note for note in curve.notes)
    assert [moment.seconds for moment in curve.moments] == pytest.approx(known, abs=0.11)


def test_a_search_can_be_stopped_and_says_so(backend: TransformersBackend, film: tuple[Path, str, list[float]]) -> None:
    stopping = Stopping(backend)
    stopping.stop = threading.Event()
    curve = search(film[0], film[1], stopping, stopping.stop)
    assert not curve.complete and not curve.moments
    stop = threading.Event()
    assert not search(film[0], film[1], StoppedWhileLoading(backend, stop), stop).complete
    with pytest.raises(LensError, match="server is gone"):
        search(film[0], film[1], Stopping(backend))


def test_the_budget_is_stated_and_kept(film: tuple[Path, str, list[float]]) -> None:
    clip = open_clip(film[0])
    clip.close()
    hour = replace(clip.facts, duration_seconds=3600.0, last_frame_seconds=3599.9)
    plan = plan_for(hour, wording_of(film[1]))
    assert len(plan.times) <= 240 and plan.times[-1] <= 3599.9 < plan.times[-1] + plan.interval_seconds
    assert plan.describe().startswith("240 questions, about a frame every 15.1 s.")
    for interval, said in ((0.0, "above 0"), (0.0001, "a frame of this clip lasts 0.1 s"), (0.1, "36,000 questions")):
        with pytest.raises(ValueError, match=said):
            plan_for(hour, wording_of(film[1]), interval)


def test_the_command_keeps_the_curve_with_the_clip(
    workspace: Workspace, film: tuple[Path, str, list[float]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, question, known = film
    assert main(["moments", str(path), question, "--model", "smolvlm-shapes", "--interval", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert "questions, about a frame every 1.0 s" in said.err
    printed = Curve.from_row(json.loads(said.out))
    assert [moment.seconds for moment in printed.moments] == pytest.approx(known, abs=0.11)
    from smolvlm_core.timeline.clips import clip_of_file

    assert workspace.moments.curves(clip_of_file(path).sha256) == [printed]
    assert main(["moments", str(path), "What happens?", "--model", "smolvlm-shapes"]) == 1

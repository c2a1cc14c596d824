"""Summaries: what fits, statements and where they came from, and whether their frames support them."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from smolvlm_core.backends.base import Backend, Capabilities
from smolvlm_core.cli import main
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import BUNDLED
from smolvlm_core.models.tokens import counter
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.prompts import Shot
from smolvlm_core.timeline.records import CAPTION, Answer, Request, Segment, Timeline, leaves
from smolvlm_core.timeline.summary import claims, statements
from smolvlm_core.timeline.summary.plan import Line, lines_of, plan
from smolvlm_core.timeline.summary.records import SUMMARIZE, Source, Statement, Summary, read_summary
from smolvlm_core.timeline.summary.run import SummaryRun, material
from smolvlm_core.timeline.summary.verify import Judge
from smolvlm_core.timeline.summary.writing import Writer, frame_tokens, notes_prompt
from smolvlm_core.workspace import Workspace
from tests.conftest import Wrapper, drawn
from training.films import random_film, write_film

TOKENIZER = Path(__file__).parents[2] / "shared" / "fixtures" / "smolvlm-256m"
FPS, SECONDS_EACH = 10, 4


def segment(number: int, text: str, seconds: float = 4.0) -> Segment:
    answers = {CAPTION: Answer(text=text)} if text else {}
    return Segment(identity=number, start_seconds=number * seconds, end_seconds=(number + 1) * seconds, answers=answers)


def line(number: int, text: str) -> Line:
    return Line(source=Source(segment=number, start_seconds=number * 4.0, end_seconds=number * 4.0 + 4), text=text)


# What fits


def captions(count: int) -> list[Segment]:
    rng = random.Random(5)
    words = re.findall(
        r"\w+", "man woman red car walks street door opens dog table window light tall building naïve café 東京 talks"
    )
    return [segment(i, " ".join(rng.choices(words, k=rng.randint(4, 60))).capitalize() + ".") for i in range(count)]


def specs() -> Iterator[object]:
    yield pytest.param(catalog.bundled(), id="bundled")
    if TOKENIZER.is_dir():
        published = next(spec for spec in catalog.PUBLISHED if "256M" in spec.title)
        yield pytest.param(replace(published, folder=TOKENIZER), id="256M")


@pytest.mark.parametrize("spec", list(specs()))
def test_hundreds_of_segments_are_read_in_parts_that_fit(spec: catalog.ModelSpec) -> None:
    count, counted = counter(spec)
    assert counted
    long = segment(900, "very " * 20_000)
    lines, left = lines_of([*captions(400), segment(800, ""), segment(801, "a <image> b"), long], {})
    made = plan(
        lines,
        left,
        context_tokens=spec.context_tokens,
        frame_tokens=frame_tokens(SUMMARIZE, count),
        counted=counted,
        count=count,
    )
    assert [part.reason.split(";")[0] for part in made.left_out] == [
        "It is not described yet.",
        "Its text contains <image>, which the model's chat format reserves.",
        f"Its text takes {count(lines[-1].written + chr(10)):,} tokens",
    ]
    grouped = [identity for group in made.groups for identity in group]
    assert grouped == list(range(400)), "each segment is read once, in order"
    of = {each.source.segment: each for each in lines}
    for group in made.groups:
        prompt = notes_prompt(SUMMARIZE, [of[identity] for identity in group]).text
        assert count(prompt) + made.answer_tokens <= spec.context_tokens
    assert len(made.groups) <= 2 * (made.tokens // spec.context_tokens + 1), "parts are as large as fits"
    assert made.describe().startswith(
        f"400 segments with {made.tokens:,} tokens of text are read in {len(made.groups)}"
    )
    assert made.describe().endswith("3 segments left out.")


# Where statements came from


NOTES = [
    line(0, "A red car drives along a street."),
    line(1, "A woman opens a door."),
    line(2, "A red car drives along a street."),
    line(3, "Two dogs sleep on a sofa."),
]


@pytest.mark.parametrize(
    ("sentence", "sources"),
    [
        ("A red car drives along a street.", [0, 2]),
        ("A woman is opening the door.", [1]),
        ("A woman opens a door, and two dogs are sleeping.", [1, 3]),
        ("A helicopter lands on the roof.", []),
        ("Use only what is written above.", []),
    ],
)
def test_a_sentence_belongs_to_the_segments_that_have_its_words(sentence: str, sources: list[int]) -> None:
    assert [each.source.segment for each in statements.tied(sentence, NOTES)] == sources


@pytest.mark.parametrize(
    ("written", "kept", "removed"),
    [
        ("A woman opens a door (0:05).", "A woman opens a door (0:05).", 0),
        ("At 0:41, a woman opens a door.", "A woman opens a door.", 1),
        ("A woman opens a door [0:04-0:30].", "A woman opens a door.", 1),
        ("0:01: A woman opens a door.", "A woman opens a door.", 1),
        ("A woman opens a door at 6 seconds.", "A woman opens a door at 6 seconds.", 0),
        ("A woman opens a door after 90 seconds.", "A woman opens a door.", 1),
        ("A woman opens a door for 90 seconds.", "A woman opens a door for 90 seconds.", 0),
    ],
)
def test_a_time_that_the_model_wrote_stays_only_where_it_is_true(written: str, kept: str, removed: int) -> None:
    found = statements.statement_of(written, NOTES)
    assert found.text == kept and len(found.notes) == removed and found.ranges == ((4.0, 8.0),)


def test_neighbours_that_say_the_same_are_one_statement() -> None:
    told = [
        "A cat sits.",
        "A cat sits.",
        "A cat moves from left to right.",
        "A cat moves from right to left.",
        "A cat sits.",
    ]
    found = statements.joined([line(i, text) for i, text in enumerate(told)])
    assert [(s.text, s.times_text()) for s in found] == [
        ("A cat sits.", "0:00–0:08"),
        ("A cat moves from left to right.", "0:08–0:12"),
        ("A cat moves from right to left.", "0:12–0:16"),
        ("A cat sits.", "0:16–0:20"),
    ]


class Told(Wrapper):
    """The bundled model, but texts without pictures are answered as told: it cannot shorten texts itself."""

    def __init__(self, inner: Backend, answers: Sequence[str]) -> None:
        super().__init__(inner)
        self.answers, self.prompts = list(answers), list[str]()

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        if prompt.slots:
            yield from super().generate(prompt, settings, cancel)
            return
        self.prompts.append(prompt.text)
        yield Delta(self.answers.pop(0))
        yield Stats("end")


class WithoutLogprobs(Wrapper):
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities(), logprobs=False)


def test_what_a_model_writes_is_kept_only_where_it_can_be_traced_back(backend: Backend) -> None:
    told = Told(
        backend,
        ["- A red car drives.\n- Two dogs sleep.\n- It rains.", "I see no image.", "A car and two dogs.", "1\n2"],
    )
    writer = Writer(backend=told, question=SUMMARIZE, answer_tokens=64, cancel=threading.Event())
    found = writer.answer(NOTES)
    assert found is not None
    assert [(s.text, s.times_text()) for s in found] == [
        ("A red car drives.", "0:00–0:04, 0:08–0:12"),
        ("Two dogs sleep.", "0:12–0:16"),
        ("It rains.", "no source"),
    ]
    assert [source.segment for source in statements.unmentioned(found, NOTES)] == [1]
    assert writer.answer(NOTES) is None, "nothing of it is in the notes"
    shorter = writer.shorten(found)
    assert shorter is not None and shorter[0].times_text() == "0:00–0:04, 0:08–0:16"
    assert writer.shorten(found) is None
    assert "0:04-0:08: A woman opens a door." in told.prompts[0] and SUMMARIZE in told.prompts[0]


@pytest.mark.parametrize(
    ("statement", "questions"),
    [
        ("A red circle moves to the right.", ["Is there a red circle in the picture?", "Which way does the red circle move?"]),
        ("A star changes from red to blue.", ["Is there a red star in the picture?", "Is there a blue star in the picture?"]),
        ("A man in a blue shirt standing next to an old table.", [f"Is there {x} in the picture?" for x in ("a man", "a blue shirt", "an old table")]),
        ("The video shows a lot of people.", []),
    ],
)  # fmt: skip
def test_a_statement_is_asked_by_the_things_that_it_names(statement: str, questions: list[str]) -> None:
    assert [claim.question for claim in claims.parts(statement)] == questions


# The whole way, with the bundled model


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, scenes = random_film(random.Random(900_001), 6, FPS * SECONDS_EACH)
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes, FPS)


@pytest.fixture
def described(workspace: Workspace, film: Path) -> Timeline:
    timeline = workspace.timelines.begin(clip_of_file(film), Request(entry=BUNDLED))
    run = workspace.timelines.run_of(timeline)
    assert run is not None
    run.job.wait(120)
    assert run.problem is None
    return timeline


def segments_of(timelines: Timelines, timeline: Timeline) -> list[Segment]:
    return leaves(timelines.segments(timeline.identity))


def test_true_statements_are_supported_and_false_ones_are_marked(workspace: Workspace, described: Timeline) -> None:
    timelines, summaries = workspace.timelines, workspace.summaries
    first, second, third = segments_of(timelines, described)[:3]
    assert first.caption == "A white circle moves to the right."
    timelines.edit(second.identity, CAPTION, second.caption.replace("purple", "green"))  # a wrong colour
    timelines.edit(third.identity, CAPTION, third.caption.replace("left", "right"))  # a wrong direction
    run = summaries.begin(described, SUMMARIZE)
    run.job.wait(200)
    assert run.problem is None
    summary = summaries.find(described, SUMMARIZE)
    assert summary is not None and summary.finished and summary == run.summary
    assert [s.verdict for s in summary.statements] == ["supported", "unsupported", "unsupported", *["supported"] * 3]
    assert summary.way == "joined" and "could not" in summary.why, (
        "the bundled model cannot shorten texts, and that is said"
    )
    assert summary.asked_as == "parts" and "12 of 12" in summary.reliability
    wrong = summary.statements[1]
    assert wrong.edited and wrong.times_text() == "0:04–0:08"
    evidence = wrong.evidence[0]
    assert "green" in evidence.question and evidence.p_yes is not None and evidence.p_yes < 0.5
    shown = {ref.timestamp_seconds for ref in second.frames}
    assert all(set(e.seconds) <= shown for e in wrong.evidence), "asked about the frames of its own segment"
    assert read_summary(json.loads(json.dumps(asdict(summary)))) == summary
    backend = workspace.registry.make(BUNDLED)
    assert summaries.is_current(described, summary, backend)
    timelines.edit(second.identity, CAPTION, None)
    assert not summaries.is_current(described, summary, backend), "an edit is noticed"


def test_a_stopped_summary_goes_on(
    workspace: Workspace, described: Timeline, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = workspace.summaries
    keep = workspace.timelines.keep
    checked = 0

    def stop_after_two(owner: str, kind: str, name: str, value: object) -> None:
        nonlocal checked
        keep(owner, kind, name, value)
        found = read_summary(value)
        checked = 0 if found is None else len(found.statements) - found.count("open")
        if checked == 2 and run is not None:
            run.stop()

    run = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace.timelines, "keep", stop_after_two)
        run = summaries.begin(described, SUMMARIZE)
        run.job.wait(200)
    assert run.problem is None
    half = summaries.find(described, SUMMARIZE)
    assert half is not None and not half.finished and len(half.statements) - half.count("open") == 2
    verdicts = [s.verdict for s in half.statements]
    assert main(["timeline-summary", described.identity, "--json"]) == 0
    out = capsys.readouterr()
    whole = read_summary(json.loads(out.out))
    assert whole is not None and whole.finished and whole.created == half.created, "it went on with the same one"
    assert [s.verdict for s in whole.statements][:2] == verdicts[:2] and whole.count("open") == 0
    assert "fit the model's context" in out.err


def test_a_thing_that_only_some_frames_show_is_found_by_the_word_alone(backend: Backend) -> None:
    shots = [Shot(float(second), drawn("blue", "rectangle")) for second in range(4)]
    judge = Judge(backend=WithoutLogprobs(backend), cancel=threading.Event())
    statement = Statement(text="There is a red circle.")
    assert judge.check(statement, [shots], "parts").verdict == "unsupported"
    shots[3] = Shot(3.0, drawn("red"))
    checked = judge.check(statement, [shots], "parts")
    assert checked.verdict == "supported" and checked.evidence[0].seconds == (3.0,)


class Failing(Wrapper):
    """Fails while it loads, or with its answers. `stop`: what the user stops meanwhile; else it sets the event it is given."""

    def __init__(self, inner: Backend, stop: threading.Event | None = None, *, loads: bool = True) -> None:
        super().__init__(inner)
        self.stop, self.loads = stop, loads

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        if self.loads:
            return super().prepare(prompt, settings, cancel)
        return self.generate(prompt, settings, cancel)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        (self.stop or cancel).set()
        raise BackendError("The server is gone.")


@pytest.mark.parametrize("loads", [True, False])
def test_a_stop_is_no_error_while_a_failure_is(workspace: Workspace, described: Timeline, loads: bool) -> None:
    def summarize(stop: threading.Event, failing: Failing) -> Summary:
        made = material(described, segments_of(workspace.timelines, described), SUMMARIZE, failing)
        run = SummaryRun(
            timeline=described,
            question=SUMMARIZE,
            material=made,
            backend=failing,
            shots_of=lambda segments: [],
            keep=lambda summary: None,
        )
        return run.work(lambda text, fraction: None, stop)

    backend, stop = workspace.registry.make(BUNDLED), threading.Event()
    assert not summarize(stop, Failing(backend, stop, loads=loads)).finished
    with pytest.raises(BackendError, match="server is gone"):
        summarize(threading.Event(), Failing(backend, loads=loads))


def test_what_cannot_be_summarized_is_refused(workspace: Workspace, described: Timeline, tmp_path: Path) -> None:
    with pytest.raises(LensError, match="empty"):
        workspace.summaries.begin(described, "  ")
    for each in segments_of(workspace.timelines, described):
        workspace.timelines.edit(each.identity, CAPTION, "")
    with pytest.raises(LensError, match="No segment has a text"):
        workspace.summaries.begin(described, SUMMARIZE)
    assert main(["timeline-summary", str(tmp_path / "gone.mp4")]) == 1


def test_nothing_is_asked_of_frames_that_are_gone(workspace: Workspace, described: Timeline, film: Path) -> None:
    backend = workspace.registry.make(BUNDLED)
    made = material(described, segments_of(workspace.timelines, described), SUMMARIZE, backend)
    assert made.plan.segments == 6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace.timelines, "path_of", lambda timeline: None)
        run = workspace.summaries.begin(described, SUMMARIZE)
        run.job.wait(200)
    assert {s.verdict for s in run.summary.statements} == {"unclear"}
    assert run.summary.statements[0].notes == ("Its frames cannot be shown again.",)


def test_statements_have_ranges() -> None:
    sources = tuple(Source(segment=i, start_seconds=i, end_seconds=i + 1.0) for i in (0, 1, 5))
    assert Statement(text="x", sources=sources).ranges == ((0, 2.0), (5, 6.0))

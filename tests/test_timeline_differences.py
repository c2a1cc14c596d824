"""Two timelines of one clip compared: which segments belong together, how much they differ, and in which order they are listed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from smolvlm_core.backends import registry
from smolvlm_core.cli import main
from smolvlm_core.models.catalog import BUNDLED
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.differences import Differences, compare, disagreement
from smolvlm_core.timeline.differences_report import as_markdown, as_object
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.records import CAPTION, Answer, Clip, Cut, Request, Segment, Timeline, leaves
from smolvlm_core.workspace import Workspace
from tests.toy_backend import ToyEntry

CLIP = Path(__file__).parents[1] / "assets" / "gallery" / "circle-moves-right.mp4"


def timeline(identity: str, *questions: str) -> Timeline:
    columns = {CAPTION: "Describe what happens."} | dict(enumerate(questions, start=1))
    clip = Clip(sha256="c", name="a|b.mp4")
    return Timeline(
        identity=identity, kind="clip", clip=clip, request=Request(entry=identity), created=0.0, model=identity, columns=columns
    )  # fmt: skip


def segment(number: int, start: float, end: float, *texts: str) -> Segment:
    answers = {column: Answer(text=text) for column, text in enumerate(texts) if text}
    return Segment(identity=number, start_seconds=start, end_seconds=end, answers=answers)


@pytest.mark.parametrize(
    ("question", "first", "second", "value", "by_meaning"),
    [
        ("Is there a dog?", "Yes, there is a dog.", "yes", 0.0, True),
        ("Is there a dog?", "Yes.", "No, I see none.", 1.0, True),
        ("Is there a dog?", "Nobody.", "No.", 0.0, True),
        ("Is there a dog?", "A dog.", "Yes.", 1.0, False),
        ("Describe what happens.", "No cars pass.", "No people walk.", 2 / 3, False),
        ("Describe what happens.", "A car moves left.", "a car moves LEFT", 0.0, False),
        ("Describe what happens.", "A car moves left.", "A car moves right.", 0.25, False),
        ("Describe what happens.", "From left to right.", "From right to left.", 0.5, False),
        ("Describe what happens.", "Dogs sleep.", "A car drives off.", 1.0, False),
    ],
)
def test_disagreement_is_by_meaning_for_yes_and_no_and_else_by_words_in_order(
    question: str, first: str, second: str, value: float, by_meaning: bool
) -> None:
    assert disagreement(question, first, second) == (pytest.approx(value), by_meaning)
    assert disagreement(question, second, first) == (pytest.approx(value), by_meaning)


def example() -> Differences:
    one = timeline("one", "Is there a dog?", "Only the first?")
    other = timeline("other", "Where?", "is there a  dog?")
    first = [
        segment(1, 0, 4, "A car drives by.", "No."),
        segment(2, 4, 8, "A dog sleeps.", "Yes."),
        segment(3, 8, 12, "A dog | runs.", "Yes."),
        segment(4, 12, 16, "", "No."),
        segment(5, 16, 20, "Nothing.", ""),
    ]
    second = [
        segment(11, 0.1, 4, "A car drives by.", "", "No, there is not."),
        segment(12, 4, 8, "A dog sleeps.", "", "No."),
        segment(13, 8, 12, "A cat runs.", "", "Yes."),
        segment(14, 12, 16, "A dog.", "", ""),
        segment(15, 16, 18, "Nothing.", "", ""),
    ]
    first[2] = replace(first[2], answers={**first[2].answers, 0: replace(first[2].answers[0], edited="A dog runs.")})
    return compare(one, first, other, second)


def test_the_largest_disagreement_comes_first() -> None:
    found = example()
    assert [[s.identity for s in row.segments] for row in found.rows] == [[2, 12], [3, 13], [1, 11], [4, 14]]
    assert [row.disagreement for row in found.rows] == pytest.approx([1.0, 1 / 3, 0.0, 0.0])
    assert [[s.identity for s in only] for only in found.only] == [[5], [15]]
    description, dog = found.tallies
    assert (description.same, description.different, description.unanswered) == (2, 1, 1)
    assert (dog.question, dog.same, dog.different, dog.unanswered) == ("Is there a dog?", 2, 1, 1)
    assert dog.mean == pytest.approx(1 / 3)
    assert found.questions == (("Only the first?",), ("Where?",))
    assert found.describe() == "2 of 3 segments differ · 1 not answered by both · 2 cut differently"


def test_what_a_person_wrote_counts_where_the_model_failed() -> None:
    failed = replace(segment(1, 0, 4), answers={CAPTION: Answer(error="The server is gone.")})
    edited = replace(failed, answers={CAPTION: Answer(error="The server is gone.", edited="A dog.")})
    other = [segment(11, 0, 4, "A dog.")]
    for first, texts in ((failed, ("", "A dog.")), (edited, ("A dog.", "A dog."))):
        assert compare(timeline("one"), [first], timeline("other"), other).rows[0].compared[0].texts == texts


def test_a_report_has_every_segment() -> None:
    found = example()
    markdown = as_markdown(found)
    assert "## 0:04–0:08: 100% different" in markdown and "## 0:12–0:16: not answered by both" in markdown
    assert "- A: A dog runs\\. *(edited)*" in markdown or "- A: A dog runs. *(edited)*" in markdown
    assert "a\\|b.mp4" in markdown and "Only A has these segments: 0:16–0:20." in markdown
    made = json.loads(json.dumps(as_object(found)))
    assert [each["disagreement"] for each in made["segments"]] == [1.0, pytest.approx(1 / 3), 0.0, None]


def made(timelines: Timelines, request: Request) -> Timeline:
    found = timelines.begin(clip_of_file(CLIP), request)
    run = timelines.run_of(found)
    assert run is not None
    run.job.wait(100)
    assert run.problem is None
    return found


def test_two_backends_on_the_same_segments(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(registry.KINDS, "toy", ToyEntry)
    timelines = workspace.timelines
    question = "What color is the circle?"
    first = made(timelines, Request(entry=BUNDLED, columns=(question,), cut=Cut(mode="fixed", seconds=0.7, frames=2)))
    second = made(timelines, Request(entry="toy:a", columns=(question,), segments_of=first.identity))
    segments = [leaves(timelines.segments(each.identity)) for each in (first, second)]
    found = compare(first, segments[0], second, segments[1])
    assert len(found.rows) == len(segments[0]) > 1 and found.only == ((), ())
    assert all(row.disagreement > 0.5 for row in found.rows), "the toy says something else"
    assert main(["timeline-compare", str(CLIP), first.identity]) == 0, "a clip stands for its newest timeline"
    assert f"{len(found.rows)} of {len(found.rows)} segments differ" in capsys.readouterr().err
    assert main(["timeline-compare", first.identity[:12], second.identity, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(as_object(found)))
    report = tmp_path / "report.md"
    assert main(["timeline-compare", first.identity, second.identity, "--markdown", str(report)]) == 0
    assert report.read_text(encoding="utf-8") == as_markdown(found)
    assert main(["timeline-compare", first.identity, first.identity]) == 1

"""Timelines: where a clip is cut, what the model says about each segment, going on, edits, columns, search."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from smolvlm_core import owners
from smolvlm_core.backends import registry
from smolvlm_core.cli import main
from smolvlm_core.errors import DeletedError, LensError, MediaError, StoreError
from smolvlm_core.models.catalog import BUNDLED
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.records import CAPTION, MARK, Clip, Cut, Request, Segment, Timeline, leaves
from smolvlm_core.timeline.scan import scan
from smolvlm_core.timeline.segments import Change, Piece, cut_up, estimate
from smolvlm_core.timeline.store import KeptFrame
from smolvlm_core.video import take_frames
from smolvlm_core.workspace import Workspace
from tests.test_batch import until
from tests.toy_backend import ToyBackend, ToyEntry
from training.films import random_film, write_film
from training.questions import Event as Drawn

EVENTS, FPS, SECONDS_EACH = 6, 10, 4


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Drawn]]:
    """24 s: one event every 4 s. Keyframes only where the encoder wants one: cuts must be found, not read off."""
    events, scenes = random_film(random.Random(900_001), EVENTS, FPS * SECONDS_EACH)
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes, FPS), events


@pytest.fixture
def timelines(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Timelines]:
    monkeypatch.setitem(registry.KINDS, "toy", ToyEntry)
    yield workspace.timelines
    if (run := workspace.timelines.running) is not None:
        run.stop()
        run.job.wait(20)


def made(timelines: Timelines, path: Path, request: Request) -> tuple[Timeline, list[Segment]]:
    """A timeline once its run has ended, with its leaves."""
    timeline = timelines.begin(clip_of_file(path), request)
    return timeline, ended(timelines, timeline)


def ended(timelines: Timelines, timeline: Timeline) -> list[Segment]:
    run = timelines.run_of(timeline)
    assert run is not None
    run.job.wait(60)
    assert run.problem is None
    return leaves(timelines.segments(timeline.identity))


TOY = Request(entry="toy:a", cut=Cut(mode="fixed", seconds=4))


# Cutting


def test_a_clip_is_cut_at_the_first_frame_of_each_scene(film: tuple[Path, list[Drawn]]) -> None:
    found = scan(film[0], lambda done, of: None, threading.Event())
    assert found.notes == ()
    pieces = cut_up(found.facts.duration_seconds, found.changes, Cut())
    assert [piece.start_seconds for piece in pieces] == pytest.approx([4.0 * i for i in range(EVENTS)], abs=0.5 / FPS)


@pytest.mark.parametrize("seed", range(40))
def test_segments_cover_the_clip_once_and_cost_at_most_what_was_said(seed: int) -> None:
    rng = random.Random(seed)
    duration = rng.choice([0.04, 0.7, 3.0, 61.3, 3600.0, 14_400.0])
    changes = [
        Change(rng.uniform(0, duration), rng.choice([0.0, 2.0, rng.uniform(0, 120)]))
        for _ in range(rng.randrange(1300))
    ]
    frames = rng.randint(1, 8)
    cut = Cut(
        mode=rng.choice(["scenes", "fixed"]),
        seconds=rng.choice([0.5, 2.0, 10.0, 300.0]),
        frames=frames,
        budget=rng.choice([frames, 3 * frames, 480, 10_000]) if frames <= 480 else frames,
    )
    pieces = cut_up(duration, sorted(changes, key=lambda c: c.seconds), cut)
    said = estimate(duration, cut)
    assert 1 <= len(pieces) <= said.segments and len(pieces) * frames <= said.frames <= max(cut.budget, frames)
    parents = {piece.parent for piece in pieces}
    ends = sorted((p.start_seconds, p.end_seconds) for i, p in enumerate(pieces) if i not in parents)
    assert ends[0][0] == 0 and ends[-1][1] == pytest.approx(duration)
    assert all(a[1] == pytest.approx(b[0]) and a[0] < a[1] for a, b in pairwise(ends))
    for piece in pieces:
        if piece.parent is not None:
            window = pieces[piece.parent]
            assert window.start_seconds <= piece.start_seconds < piece.end_seconds <= window.end_seconds
    if not said.is_coarse:
        assert max(p.length_seconds for p in pieces) <= said.longest_seconds + 0.5 + 1e-6


def test_a_budget_that_is_too_small_for_fixed_intervals_is_said() -> None:
    text = estimate(3600, Cut(mode="fixed", seconds=5, frames=4, budget=480)).describe()
    assert text == "At most 120 segments and 480 frames. The budget does not reach for shorter ones: each takes 30 s."


def test_an_hour_is_described_coarsely_first_and_finer_where_something_happens() -> None:
    busy = [Change(t, 80.0) for t in np.arange(1800.0, 1830.0, 3.0)]
    quiet = [Change(t, 0.5) for t in np.arange(1.0, 3600.0, 5.0)]
    pieces = cut_up(3600.0, sorted(busy + quiet, key=lambda c: c.seconds), Cut(seconds=10, frames=4, budget=200))
    windows = [piece for piece in pieces if piece.parent is None]
    assert pieces[: len(windows)] == windows, "coarse segments come first"
    assert windows[0].start_seconds == 0 and windows[-1].end_seconds == 3600
    parts = [piece for piece in pieces if piece.parent is not None]
    first = pieces[parts[0].parent or 0]
    assert first.start_seconds <= 1815 <= first.end_seconds, "the busiest window is refined first"
    assert "At most 50 segments and 200 frames" in estimate(3600.0, Cut(seconds=10, frames=4, budget=200)).describe()


# Describing


def test_each_segment_is_described_from_its_own_frames(film: tuple[Path, list[Drawn]], timelines: Timelines) -> None:
    path, events = film
    request = Request(entry=BUNDLED, columns=("What shape is it?",))
    timeline, segments = made(timelines, path, request)
    assert [segment.caption for segment in segments] == [event.describe() for event in events]
    assert [s.answers[1].text.strip(".").lower() for s in segments] == [event.thing.shape for event in events]
    for segment in segments:
        times = [ref.timestamp_seconds for ref in segment.frames]
        assert times[0] == pytest.approx(segment.start_seconds, abs=1e-6) and times[-1] < segment.end_seconds
        answer = segment.answers[CAPTION]
        assert answer.prompt.count("<image>") == len(times) == 4 and "Describe what happens." in answer.prompt
        assert answer.stats is not None and answer.stats.prompt_tokens > 0 and answer.model
        second = segment.answers[1].stats
        assert second is not None and second.reused_tokens > answer.stats.image_tokens, "frames are read once"
        shown = timelines.picture(segment.identity, 2)
        assert np.array_equal(np.asarray(shown), take_frames(path, [times[2]]).frames[0].pixels)
        assert (timelines.store.thumbnail(segment.identity, 3) or b"").startswith(b"\xff\xd8")
    assert timelines.is_complete(timeline)


class Slow(ToyBackend):
    """Answers when it is let."""

    free, asked, begun = threading.Event(), [], threading.Event()  # type: ignore[var-annotated]

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        Slow.begun.set()
        while not Slow.free.wait(0.02) and not cancel.is_set():
            pass
        if not cancel.is_set():
            Slow.asked.append(prompt)
        yield from super().generate(prompt, settings, cancel)


def test_a_stopped_timeline_goes_on_and_asks_only_what_is_new(
    film: tuple[Path, list[Drawn]], timelines: Timelines, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyEntry, "make", lambda self, pool, precision="": Slow(self.title))
    Slow.free.clear(), Slow.asked.clear(), Slow.begun.clear()
    timeline = timelines.begin(clip_of_file(film[0]), TOY)
    run = timelines.run_of(timeline)
    assert run is not None and Slow.begun.wait(20)
    with pytest.raises(LensError, match="is being made"):
        timelines.begin(clip_of_file(film[0]), TOY)
    run.stop()
    run.job.wait(20)
    assert not run.is_running and not timelines.is_complete(timeline)
    Slow.free.set()
    other = Timelines(workspace.folder, workspace.jobs, workspace.registry, lambda: workspace.store)  # after a restart
    assert [t.identity for t in other.of_clip(timeline.clip.sha256)] == [timeline.identity]
    other.go_on(timeline)
    segments = ended(other, timeline)
    assert len(segments) == EVENTS == len(Slow.asked) and other.is_complete(timeline)
    number = other.add_column(timeline.identity, "Is anyone there?")
    other.go_on(timeline)
    segments = ended(other, timeline)
    assert len(Slow.asked) == 2 * EVENTS and all(number in segment.answers for segment in segments)
    assert {len(p.slots) for p in Slow.asked} == {4}
    other.remove_column(timeline.identity, number)
    assert not any(number in segment.answers for segment in other.segments(timeline.identity))


def test_a_timeline_of_other_segments_is_cut_like_them(film: tuple[Path, list[Drawn]], timelines: Timelines) -> None:
    first, segments = made(timelines, film[0], TOY)
    request = replace(TOY, entry="toy:b", cut=Cut(), segments_of=first.identity)
    second, others = made(timelines, film[0], request)
    assert second.identity != first.identity
    assert [s.range_seconds for s in others] == [s.range_seconds for s in segments]
    assert [s.frames for s in others] == [s.frames for s in segments]


def test_a_clip_that_is_gone_or_no_clip_says_so(
    tmp_path: Path, film: tuple[Path, list[Drawn]], timelines: Timelines
) -> None:
    with pytest.raises(MediaError, match="is not a clip"):
        (tmp_path / "x.mp4").write_bytes(b"not a clip")
        clip_of_file(tmp_path / "x.mp4")
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(film[0].read_bytes())
    timeline, segments = made(timelines, copy, TOY)
    copy.unlink()
    assert timelines.path_of(timeline) is None
    with pytest.raises(MediaError, match=r"copy.mp4 is not there any more"):
        timelines.picture(segments[0].identity, 0)
    with pytest.raises(MediaError, match="Add the same clip again"):
        timelines.go_on(timeline)
    with pytest.raises(LensError, match="reserves"):
        timelines.begin(clip_of_file(film[0]), replace(TOY, prompt="What is <image>?"))


def test_a_frame_that_cannot_be_decoded_fails_its_segment_alone(
    tmp_path: Path, film: tuple[Path, list[Drawn]], timelines: Timelines
) -> None:
    """The file is cut short while it runs: later segments fail in words, and what was said stays."""
    copy = tmp_path / "short.mp4"
    copy.write_bytes(film[0].read_bytes())
    clip = clip_of_file(copy)
    timeline = Timeline(identity="t", kind="clip", clip=clip, request=TOY, created=1.0, columns={CAPTION: TOY.prompt})
    timelines.store.add(timeline)
    timelines.store.put_segments("t", [Piece(0, 4), Piece(500, 600)])
    from smolvlm_core.timeline.run import Run

    run = Run(timeline=timeline, source=copy, backend=ToyBackend("a"), store=timelines.store)
    run.work(lambda text, fraction: None, threading.Event())
    good, bad = timelines.segments("t")
    assert good.caption and not good.answers[CAPTION].error
    assert "is not within the clip" in bad.answers[CAPTION].error
    assert (run.progress.answered, run.progress.failed) == (1, 1) and "1 failed" in run.progress.describe()


# What people change, and search


def test_edits_stay_apart_from_the_models_words(film: tuple[Path, list[Drawn]], timelines: Timelines) -> None:
    timeline, segments = made(timelines, film[0], TOY)
    first, second = segments[:2]
    said = first.caption
    timelines.edit(first.identity, CAPTION, "Ein rotes Fahrrad fährt vorbei <b>")
    timelines.set_note(second.identity, "  ask the cyclist's club ")
    again = timelines.segments(timeline.identity)
    assert again[0].caption == "Ein rotes Fahrrad fährt vorbei <b>" and again[0].answers[CAPTION].text == said
    assert again[1].note == "ask the cyclist's club"

    def places(text: str) -> list[tuple[int, int | None]]:
        return [(hit.segment, hit.column) for hit in timelines.search(text)]

    assert places("rad fahrt") == [], "each word begins a word there"
    assert places("FAHRRAD fahrt") == [(first.identity, CAPTION)], "without accents and case"
    assert places("cyclist") == [(second.identity, None)]
    assert timelines.search("fahrrad")[0].excerpt == f"Ein rotes {MARK[0]}Fahrrad{MARK[1]} fährt vorbei <b>"
    for odd in ('"', "AND", "NEAR(", "*", "a OR", "-", "🚲", "\ud800", "col:x", ""):
        timelines.search(odd)
    with pytest.raises(StoreError, match="1,000 are allowed"):
        timelines.search("x" * 1001)
    timelines.edit(first.identity, CAPTION, None)
    assert places("fahrrad") == [] and timelines.segments(timeline.identity)[0].caption == said
    timelines.store.save_answer(first.identity, CAPTION, replace(first.answers[CAPTION], text="new words"))
    assert places("new words") == [(first.identity, CAPTION)]
    timelines.delete(timeline.identity)
    assert places("new words") == places("cyclist") == [] and timelines.find(timeline.identity) is None
    with pytest.raises(DeletedError):
        timelines.edit(first.identity, CAPTION, "x")


def test_a_stored_clip_stays_as_long_as_its_timeline(
    film: tuple[Path, list[Drawn]], timelines: Timelines, workspace: Workspace
) -> None:
    with film[0].open("rb") as file:
        sha256 = workspace.store.media.add_file(file, "film.mp4", "video/mp4")
    clip = replace(clip_of_file(film[0]), path="")
    timeline, _ = (t := timelines.begin(clip, TOY)), ended(timelines, t)
    workspace.store.discard({sha256})
    assert timelines.path_of(timeline) == workspace.store.media.path(sha256)
    timelines.delete(timeline.identity)
    assert not workspace.store.media.path(sha256).exists()


def test_damaged_rows_are_left_out_and_named(
    film: tuple[Path, list[Drawn]], timelines: Timelines, workspace: Workspace
) -> None:
    timeline, _ = made(timelines, film[0], TOY)
    for n, request in enumerate(("{", "[]", '{"entry": 7}', '{"entry": "a", "cut": {"frames": -1}}')):
        timelines.store.add(replace(timeline, identity=f"bad{n}", clip=Clip(sha256="a", name="a")))
        with sqlite3.connect(workspace.folder / "timelines.sqlite3") as db:
            db.execute("UPDATE timelines SET request = ? WHERE id = ?", (request, f"bad{n}"))
    with sqlite3.connect(workspace.folder / "timelines.sqlite3") as db:
        db.execute("UPDATE answers SET stats = '{'")
    assert timeline.identity in [t.identity for t in timelines.all()]
    assert len(timelines.segments(timeline.identity)) == EVENTS
    assert any("The timeline bad0 cannot be read" in problem for problem in workspace.problems())


# The command


def test_the_command_prints_as_it_goes_and_the_app_finds_it(
    film: tuple[Path, list[Drawn]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMOLVLM_LENS_DATA", str(tmp_path))
    command = ["timeline", str(film[0]), "--model", BUNDLED, "--question", "What shape is it?"]
    assert main(command) == 0
    out = capsys.readouterr()
    assert f"0:04–0:08  {film[1][1].describe()}" in out.out and "What shape is it? " in out.out
    assert "At most 9 segments and 36 frames." in out.err
    assert main([*command, "--question", "What color is the shape?", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert len(value["segments"]) == EVENTS and set(value["columns"]) == {"0", "1", "2"}
    assert all(set(segment["answers"]) == {"0", "1", "2"} for segment in value["segments"])
    with pytest.raises(SystemExit) as wrong:
        main([*command, "--frames", "9", "--budget", "4"])
    assert wrong.value.code == 2 and "the frames of one segment" in capsys.readouterr().err
    workspace = Workspace(tmp_path)
    until(lambda: len(workspace.timelines.all()) == 1)
    workspace.close()


# What a review found


def test_a_clip_that_moved_goes_on_where_it_is_now_and_another_file_is_not_it(
    tmp_path: Path, film: tuple[Path, list[Drawn]], timelines: Timelines
) -> None:
    first = tmp_path / "a.mp4"
    first.write_bytes(film[0].read_bytes())
    timeline, _ = made(timelines, first, TOY)
    first.rename(tmp_path / "b.mp4")
    again, _ = made(timelines, tmp_path / "b.mp4", TOY)
    assert again.identity == timeline.identity and again.clip.name == "b.mp4"
    assert timelines.path_of(again) == tmp_path / "b.mp4"
    data = bytearray((tmp_path / "b.mp4").read_bytes())
    data[-1] ^= 1
    (tmp_path / "b.mp4").write_bytes(data)
    assert timelines.path_of(again) is None, "a file of the same size is not the clip"


class Failing(ToyBackend):
    """Sets the event it is given when it fails, as the hybrid backend does."""

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        if "second" in prompt.text:
            cancel.set()
            raise LensError("The server went away.", "Start it again.")
        yield from super().generate(prompt, settings, cancel)


def test_a_backend_that_fails_leaves_its_reason_with_the_question(
    film: tuple[Path, list[Drawn]], timelines: Timelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyEntry, "make", lambda self, pool, precision="": Failing(self.title))
    timeline, segments = made(
        timelines, film[0], replace(TOY, columns=("The second question?", "The second question?"))
    )
    assert timeline.columns == {0: TOY.prompt, 1: "The second question?"}, "the same question is asked once"
    run = timelines.run_of(timeline)
    assert run is not None and (run.progress.answered, run.progress.failed) == (0, EVENTS)
    assert all(s.answers[CAPTION].text and "went away" in s.answers[1].error for s in segments)


def test_stopping_while_the_clip_is_cut_is_no_error(film: tuple[Path, list[Drawn]], timelines: Timelines) -> None:
    from smolvlm_core.timeline.run import Run

    timeline = Timeline(
        identity="t", kind="clip", clip=clip_of_file(film[0]), request=replace(TOY, cut=Cut()), created=1.0
    )
    timelines.store.add(timeline)
    cancel = threading.Event()
    cancel.set()
    run = Run(timeline=timeline, source=film[0], backend=ToyBackend("a"), store=timelines.store)
    assert run.work(lambda text, fraction: None, cancel).total is None


def test_a_deleted_timeline_frees_its_room_and_takes_nothing_more(
    film: tuple[Path, list[Drawn]], timelines: Timelines, workspace: Workspace
) -> None:
    timeline, segments = made(timelines, film[0], TOY)
    database = workspace.folder / "timelines.sqlite3"
    noise = random.Random(1).randbytes(200_000)
    for segment in segments:
        kept = [KeptFrame(ref=ref, thumbnail=b"x", picture=noise) for ref in segment.frames]
        timelines.store.save_frames(segment.identity, kept)
    before = database.stat().st_size + database.with_name("timelines.sqlite3-wal").stat().st_size
    timelines.delete(timeline.identity)
    assert before > 4_000_000 > 10 * database.stat().st_size
    with pytest.raises(DeletedError):
        timelines.keep(timeline.identity, "summary", "x", {})


def test_another_process_that_makes_the_same_timeline_is_not_raced(
    film: tuple[Path, list[Drawn]], timelines: Timelines
) -> None:
    timeline, _ = made(timelines, film[0], TOY)
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        timelines.store.keep(timeline.identity, "process", "process", f"{other.pid} {owners._began(other.pid)}")
        with pytest.raises(LensError, match="another process"):
            timelines.go_on(timeline)
    finally:
        other.kill()
        other.wait()
    timelines.go_on(timeline)  # it ended without a word
    ended(timelines, timeline)

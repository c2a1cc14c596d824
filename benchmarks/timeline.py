"""The timeline of a drawn clip: seconds a segment, what came from caches, peak memory.

    python -m benchmarks.timeline                                    (10 minutes, the bundled checkpoint)
    python -m benchmarks.timeline --minutes 60 --fps 5
    python -m benchmarks.timeline --minutes 10 --longest 30 --checkpoint FOLDER --backend hybrid

Each measurement runs in a process of its own with a data folder of its own. The clip has one event every 6 s. After the first run a
question is added, which is asked about the same frames. Memory is the largest resident size (sampled every 5 ms) of this process
and those it started, less the size before; a second process of the same model answers about one segment only, for comparison. With
random weights, each answer has as many tokens as are allowed, and no caption is right.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from smolvlm_core.models import catalog
from smolvlm_core.models.memory import MIB
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.records import CAPTION, Cut, Request, Segment, Timeline, leaves
from smolvlm_core.timeline.scan import scan
from smolvlm_core.workspace import Workspace
from training.films import random_film, write_film
from training.questions import Event

ROOT = Path(__file__).resolve().parent.parent
SECONDS_EACH, SEED = 6, 1_700_017
SECOND_QUESTION = "What color is the shape?"


class Peak(threading.Thread):
    """The largest resident size of this process and its children, in bytes, from `start` to `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process, self._ended, self.size = psutil.Process(), threading.Event(), 0

    def now(self) -> int:
        size = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                size += child.memory_info().rss
            except psutil.Error:
                continue
        return size

    def run(self) -> None:
        while not self._ended.wait(0.005):
            self.size = max(self.size, self.now())

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.size


def measure(clip: Path, events: Sequence[Event], args: argparse.Namespace) -> dict[str, Any]:
    os.environ["SMOLVLM_LENS_DATA"] = tempfile.mkdtemp()
    import torch  # noqa: F401
    from transformers.models.smolvlm import modeling_smolvlm  # noqa: F401

    workspace = Workspace()
    entry = workspace.registry.find(args.checkpoint)
    if args.backend == "hybrid":
        entry = next(e for e in workspace.registry.entries() if e.key != entry.key and e.key.endswith(entry.key))
    peak = Peak()
    before = peak.now()
    peak.start()
    began = time.monotonic()
    found = scan(clip, lambda done, of: None, threading.Event())
    scanned = time.monotonic() - began
    request = Request(entry=entry.key, cut=Cut(seconds=args.longest, frames=args.frames, budget=args.budget))
    timelines = workspace.timelines
    first = _seconds(timelines, timelines.begin(clip_of_file(clip), request))
    timeline = timelines.all()[0]
    second = 0.0
    if not args.one_segment:
        timelines.add_column(timeline.identity, SECOND_QUESTION)
        timelines.go_on(timeline)
        second = _seconds(timelines, timeline)
    memory = peak.stop() - before
    segments = timelines.segments(timeline.identity)
    workspace.close()
    return {
        "scan": scanned,
        "looked_at": found.looked_at,
        "segments": len(segments),
        "leaves": len(leaves(segments)),
        "failed": sum(bool(a.error) for s in segments for a in s.answers.values()),
        "first": first / len(segments),
        "second": second / len(segments),
        "reused": _share(segments, CAPTION, "reused_tokens", "prompt_tokens"),
        "reused_second": _share(segments, 1, "reused_tokens", "prompt_tokens"),
        "known_second": sum(_stat(s, 1, "known_tiles") for s in segments),
        "tiles": sum(len(s.frames) for s in segments),
        "right": _right(segments, events),
        "memory": memory / MIB,
    }


def _seconds(timelines: Timelines, timeline: Timeline) -> float:
    run = timelines.run_of(timeline)
    assert run is not None
    began = time.monotonic()
    run.job.wait()
    assert run.problem is None, run.problem
    return time.monotonic() - began


def _stat(segment: Segment, column: int, name: str) -> int:
    answer = segment.answers.get(column)
    return int(getattr(answer.stats, name)) if answer is not None and answer.stats is not None else 0


def _share(segments: Sequence[Segment], column: int, part: str, whole: str) -> float:
    of = sum(_stat(s, column, whole) for s in segments)
    return sum(_stat(s, column, part) for s in segments) / of if of else 0.0


def _right(segments: Sequence[Segment], events: Sequence[Event]) -> float:
    """Of the segments that lie within one event and show all of it, the share whose caption names it."""
    whole = [s for s in leaves(segments) if abs(s.end_seconds - s.start_seconds - SECONDS_EACH) < 0.5]
    named = [s.caption == events[round(s.start_seconds / SECONDS_EACH)].describe() for s in whole]
    return sum(named) / len(named) if named else 0.0


def _draw(folder: Path, seconds: float, fps: int) -> tuple[Path, list[Event]]:
    count = max(1, round(seconds / SECONDS_EACH))
    events, scenes = random_film(random.Random(SEED), count, SECONDS_EACH * fps)
    return write_film(folder / "film.mp4", scenes, fps), events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--checkpoint", default=catalog.BUNDLED)
    parser.add_argument("--backend", choices=("transformers", "hybrid"), default="transformers")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--longest", type=float, default=10)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--budget", type=int, default=480)
    parser.add_argument("--one-segment", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)  # in this process
    args = parser.parse_args()
    if args.clip is not None:
        events, _ = random_film(random.Random(SEED), max(1, round(args.minutes * 60 / SECONDS_EACH)), 2)
        print(json.dumps(measure(args.clip, events, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        clip, _ = _draw(Path(folder), args.minutes * 60, args.fps)
        got = _in_process(clip, args)
        args.minutes, args.one_segment = SECONDS_EACH / 60, True
        short, _ = _draw(Path(folder), SECONDS_EACH, args.fps)
        one = _in_process(short, args)
    print(f"looking for changes: {got['scan']:.1f} s, {got['looked_at']} frames compared")
    print(f"segments: {got['segments']} asked, {got['leaves']} shown, {got['failed']} failed; {got['tiles']} frames")
    print(f"first question: {got['first']:.2f} s a segment, {got['reused']:.0%} of the tokens reused")
    again = f"{got['reused_second']:.0%} of the tokens reused, {got['known_second']} of {got['tiles']} frames not encoded again"
    print(f"question added later: {got['second']:.2f} s a segment, {again}")
    print(f"captions right, of segments that are one event: {got['right']:.1%}")
    print(f"peak memory: {got['memory']:,.0f} MiB; for one segment: {one['memory']:,.0f} MiB")


def _in_process(clip: Path, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.timeline", "--clip", str(clip)]
    for name in ("checkpoint", "backend", "minutes", "fps", "longest", "frames", "budget"):
        command += [f"--{name}", str(getattr(args, name))]
    command += ["--one-segment"] if args.one_segment else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    got: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return got


if __name__ == "__main__":
    main()

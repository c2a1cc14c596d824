"""`timeline`: describes a clip segment by segment. Ctrl-C ends it; the next run goes on."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.model import add_model, chosen_entry
from smolvlm_core.cli.terminal import clear_line, positive
from smolvlm_core.cli.timelines import wait
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import DESCRIBE
from smolvlm_core.times import time_text
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.timeline.asking import Asked
    from smolvlm_core.timeline.records import Request, Timeline
    from smolvlm_core.timeline.run import Run

INTERRUPTED = 130


def add(commands: Any) -> None:
    timeline = commands.add_parser(
        "timeline",
        help="describe a clip segment by segment",
        description="Cut a clip into segments and ask about each. The timeline is kept: the app shows it with the clip. Run the "
        "same command again to go on after an interruption.",
    )
    timeline.add_argument("clip", metavar="CLIP", type=Path)
    add_model(timeline)
    timeline.add_argument(
        "--prompt", metavar="P", default=DESCRIBE, help=f"asked of each segment (default: {DESCRIBE})"
    )
    timeline.add_argument(
        "--question",
        metavar="Q",
        action="append",
        default=[],
        help="a further question about each segment; repeat the option for several",
    )
    how = timeline.add_mutually_exclusive_group()
    how.add_argument(
        "--every", metavar="S", type=float, help="segments of so many seconds, instead of at scene changes"
    )
    how.add_argument("--longest", metavar="S", type=float, default=10.0, help="of a segment, in seconds (default: 10)")
    how.add_argument(
        "--segments-of",
        metavar="TIMELINE",
        default="",
        help="the segments of another timeline of this clip, to compare the two: see `timeline-compare`",
    )
    timeline.add_argument("--frames", metavar="N", type=positive, default=4, help="shown of each segment (default: 4)")
    timeline.add_argument(
        "--budget", metavar="N", type=positive, default=480, help="frames that are shown in all (default: 480)"
    )
    timeline.add_argument("--max-new-tokens", metavar="N", type=positive, default=96)
    timeline.add_argument(
        "--temperature", metavar="T", type=float, default=0.0, help="0 (default) means greedy decoding"
    )
    timeline.add_argument("--seed", metavar="N", type=int, default=0)
    timeline.add_argument("--json", action="store_true", help="print one JSON object at the end")
    timeline.set_defaults(run=_timeline, wrong=timeline.error)


def _timeline(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.timeline.clips import clip_of_file

    entry = chosen_entry(args, workspace)
    request = _request(args, entry.key)
    clip = clip_of_file(args.clip)
    if clip.facts is not None:
        print(f"{clip.facts.describe()}", file=sys.stderr)
        print(workspace.timelines.estimate(clip.facts, request.cut).describe(), file=sys.stderr)
    timeline = workspace.timelines.begin(clip, request, _quiet if args.json else _print_asked)
    run = workspace.timelines.run_of(timeline)
    assert run is not None, "`begin` started it"
    interrupted = wait(run)
    return _end(args, workspace, run, interrupted)


def _request(args: argparse.Namespace, entry: str) -> Request:
    """Ends the command where a value is outside its range."""
    from smolvlm_core.prompt.generation import GenerationSettings
    from smolvlm_core.timeline.records import Cut, Request

    try:
        settings = GenerationSettings(max_new_tokens=args.max_new_tokens, temperature=args.temperature, seed=args.seed)
        cut = Cut(
            mode="fixed" if args.every is not None else "scenes",
            seconds=args.every if args.every is not None else args.longest,
            frames=args.frames,
            budget=args.budget,
        )
    except ValueError as error:
        args.wrong(str(error))
    return Request(
        entry=entry,
        precision=args.dtype,
        prompt=args.prompt,
        columns=tuple(args.question),
        settings=settings,
        cut=cut,
        segments_of=args.segments_of,
    )


def _quiet(asked: Asked) -> None:
    return


def _print_asked(asked: Asked) -> None:
    clear_line()
    segment = asked.prepared.task.segment
    span = f"{time_text(segment.start_seconds)}–{time_text(segment.end_seconds)}"
    for column, answer in asked.answers.items():
        text = f"failed: {answer.error}" if answer.error else " ".join(answer.text.split())
        question = asked.prepared.task.questions[column]
        mark = "" if column == 0 else f"{question} "
        print(f"{span:>17}  {mark}{text}", flush=True)


def _end(args: argparse.Namespace, workspace: Workspace, run: Run, interrupted: bool) -> int:
    timeline, progress = run.timeline, run.progress
    if args.json:
        print(json.dumps(_as_json(workspace, timeline), indent=1, ensure_ascii=False))
    for note in (workspace.timelines.find(timeline.identity) or timeline).notes:
        print(f"note: {note}", file=sys.stderr)
    if interrupted:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    if run.problem is not None:
        raise LensError(run.problem)
    parts = [f"{progress.answered:,} segments answered", f"{progress.failed:,} failed"]
    print(
        f"{', '.join([*parts, f'{progress.skipped:,} answered before'])}: timeline {timeline.identity}", file=sys.stderr
    )
    return 1 if progress.failed else 0


def _as_json(workspace: Workspace, timeline: Timeline) -> dict[str, Any]:
    timeline = workspace.timelines.find(timeline.identity) or timeline
    segments = [asdict(segment) for segment in workspace.timelines.segments(timeline.identity)]
    return {**asdict(timeline), "segments": segments}

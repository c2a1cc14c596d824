"""`timeline-summary`: answers a question about a whole clip from its timeline. Ctrl-C ends it; the next run goes on."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.model import chosen_entry
from smolvlm_core.cli.terminal import clear_line, status
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.timeline.records import Timeline
    from smolvlm_core.timeline.summary.records import Statement, Summary
    from smolvlm_core.timeline.summary.run import SummaryRun

INTERRUPTED = 130
SUMMARIZE = "Summarize the video."
WAIT_SECONDS = 0.2
MARKS = {"supported": "✓", "unsupported": "✗", "unclear": "?", "open": "·"}
WORDS = {
    "supported": "supported by its frames",
    "unsupported": "not supported by its frames",
    "unclear": "could not be checked",
    "open": "not checked yet",
}


def add(commands: Any) -> None:
    summary = commands.add_parser(
        "timeline-summary",
        help="answer a question about a whole clip from its timeline",
        description="Answer a question about a whole clip from the descriptions of its segments. Every statement has the times it came "
        "from, and its frames are shown to the model again. The clip needs a timeline: see `timeline`.",
    )
    summary.add_argument("timeline", metavar="TIMELINE-OR-CLIP", help="a timeline's name, or a clip for its newest one")
    summary.add_argument("question", nargs="?", default=SUMMARIZE, help=f"default: {SUMMARIZE}")
    summary.add_argument("--model", metavar="M", help="the model that answers (default: the timeline's own)")
    summary.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    summary.add_argument("--plan", action="store_true", help="print what fits the model's context, and ask nothing")
    summary.add_argument("--json", action="store_true", help="print one JSON object")
    summary.set_defaults(run=_summary)


def _summary(args: argparse.Namespace, workspace: Workspace) -> int:
    timeline = find_timeline(args.timeline, workspace)
    entry = chosen_entry(args, workspace).key if args.model else ""
    request = timeline.request
    backend = workspace.registry.make(entry or request.entry, args.dtype if entry else request.precision)
    plan = workspace.summaries.material(timeline, args.question, backend).plan
    print(plan.describe(), file=sys.stderr)
    for part in plan.left_out:
        print(f"left out: {part.start_seconds:.1f}–{part.end_seconds:.1f} s. {part.reason}", file=sys.stderr)
    if args.plan:
        return 0
    run = workspace.summaries.begin(timeline, args.question, entry, args.dtype if entry else "")
    if _wait(run):
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    if run.problem is not None:
        raise LensError(run.problem)
    if args.json:
        print(json.dumps(asdict(run.summary), indent=1, ensure_ascii=False))
    else:
        _print(run.summary)
    return 0


def find_timeline(name: str, workspace: Workspace) -> Timeline:
    """By its name, or the newest one of a clip. Raises LensError where there is none."""
    from smolvlm_core.timeline.clips import clip_of_file

    if (found := workspace.timelines.find(name)) is not None:
        return found
    path = Path(name)
    if not path.is_file():
        raise LensError(
            f"{name} is neither a clip nor a timeline.", "Use the name that `timeline` prints, or a clip's path."
        )
    of_clip = workspace.timelines.of_clip(clip_of_file(path).sha256)
    if not of_clip:
        raise LensError(f"{name} has no timeline yet.", f"Run `timeline {name}` first.")
    return of_clip[0]


def _wait(run: SummaryRun) -> bool:
    """Until the run ends. True where Ctrl-C ended it."""

    def stop(number: int, frame: FrameType | None) -> None:
        run.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        while run.is_running:
            status(run.describe())
            run.job.wait(WAIT_SECONDS)
    finally:
        signal.signal(signal.SIGINT, before)
        clear_line()
    return run.was_stopped


def _print(summary: Summary) -> None:
    for statement in summary.statements:
        print(f"{MARKS[statement.verdict]} {statement.text}  [{statement.times_text()}]{_more(statement)}")
    print(f"{summary.describe()}. {summary.why} {summary.reliability}", file=sys.stderr)
    if summary.unmentioned:
        print(f"{len(summary.unmentioned)} segments are not mentioned", file=sys.stderr)


def _more(statement: Statement) -> str:
    said = [f"{e.question} {e.answer}" for e in statement.evidence if statement.verdict == "unsupported"]
    words = (
        ""
        if statement.verdict == "supported"
        else f"  ({WORDS[statement.verdict]}{': ' if said else ''}{'; '.join(said)})"
    )
    return words + "".join(f"\n    {note}" for note in statement.notes)

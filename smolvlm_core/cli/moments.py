"""`moments`: finds when something happens in a clip, by the probability of *yes* over its frames."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.model import add_model, chosen_backend
from smolvlm_core.cli.terminal import clear_line, positive, status
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.timeline.moments.curve import Curve

INTERRUPTED = 130


def add(commands: Any) -> None:
    moments = commands.add_parser(
        "moments",
        help="find when something happens in a clip",
        description="Find when something happens in a clip: the model is asked a question about frames all over it, and then about "
        "those around each change, down to the exact frame. The result is kept: the app shows it with the clip.",
    )
    moments.add_argument("clip", metavar="CLIP", type=Path)
    moments.add_argument("question", metavar="QUESTION", help="such as “When does the red circle appear?”")
    add_model(moments)
    how = moments.add_mutually_exclusive_group()
    how.add_argument(
        "--interval", metavar="S", type=float, help="seconds between two frames (default: by the clip's length)"
    )
    how.add_argument("--frames", metavar="N", type=positive, help="most frames to ask about first (default: 240)")
    moments.add_argument("--json", action="store_true", help="print one JSON object: the curve and its moments")
    moments.set_defaults(run=_moments, wrong=moments.error)


def _moments(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.timeline.clips import clip_of_file
    from smolvlm_core.timeline.moments.find import find_moments
    from smolvlm_core.timeline.moments.plan import BUDGET, plan_for
    from smolvlm_core.timeline.moments.wording import wording_of

    wording = wording_of(args.question)
    clip = clip_of_file(args.clip)
    assert clip.facts is not None, "a file has facts"
    try:
        plan = plan_for(clip.facts, wording, args.interval, args.frames or BUDGET)
    except ValueError as error:
        args.wrong(str(error))
    backend = chosen_backend(args, workspace)
    for line in (clip.facts.describe(), f"Asked about each moment: {wording.asked}", plan.describe()):
        print(line, file=sys.stderr)
    cancel = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        cancel.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        curve = find_moments(args.clip, clip.facts, wording, backend, plan, cancel, lambda text, fraction: status(text))
    finally:
        signal.signal(signal.SIGINT, before)
        clear_line()
    if curve.complete:
        workspace.moments.keep(clip.sha256, curve)
    return _print(curve, as_json=args.json)


def _print(curve: Curve, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(curve.as_row(), indent=1, ensure_ascii=False))
    else:
        for moment in curve.moments:
            print(moment.describe())
    for note in curve.notes:
        print(f"note: {note}", file=sys.stderr)
    if not curve.complete:
        print("interrupted: the clip was not searched to its end", file=sys.stderr)
        return INTERRUPTED
    print(f"{curve.describe()} · {curve.questions:,} questions answered", file=sys.stderr)
    return 0

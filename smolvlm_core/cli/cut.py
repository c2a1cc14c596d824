"""`cut`: chosen moments of a clip as a new file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smolvlm_core.cli.terminal import clear_line, status, time_range
from smolvlm_core.times import time_text
from smolvlm_core.workspace import Workspace


def add(commands: Any) -> None:
    cut = commands.add_parser(
        "cut",
        help="cut moments out of a clip, without re-encoding where that is possible",
        description="Write the given ranges of a clip into a new file, one after another by time. Frames and sound are copied: "
        "each part begins at the keyframe before its range, and the command says how much earlier that is.",
    )
    cut.add_argument("clip", metavar="CLIP", type=Path)
    cut.add_argument("ranges", metavar="A-B", nargs="+", type=time_range, help="such as 0:12-0:20")
    cut.add_argument(
        "--out", metavar="F", type=Path, required=True, help="its extension is the format, such as cut.mp4"
    )
    cut.add_argument(
        "--exact", action="store_true", help="encode again (H.264), so that parts begin and end exactly there"
    )
    cut.add_argument("--json", action="store_true", help="print one JSON object: parts, duration, notes")
    cut.set_defaults(run=_cut)


def _cut(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.video.cut import cut_clip

    done = cut_clip(args.clip, args.ranges, args.out, exact=args.exact, report=lambda text, fraction: status(text))
    clear_line()
    if args.json:
        parts = [
            {**asdict(p), "earlier_seconds": p.earlier_seconds, "later_seconds": p.later_seconds} for p in done.parts
        ]
        value = {"parts": parts, "duration_seconds": done.duration_seconds, "exact": done.exact, "notes": done.notes}
        print(json.dumps(value, indent=1, ensure_ascii=False))
        return 0
    for line in done.describe():
        print(line)
    print(f"{args.out}: {time_text(done.duration_seconds)}", file=sys.stderr)
    return 0

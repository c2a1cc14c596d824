"""`frames`: the frames of a clip that a model would be shown."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.terminal import clear_line, positive, status, time_range
from smolvlm_core.times import time_text
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.video import ClipFacts, Frame

SMOLVLM2_FPS, SMOLVLM2_MAX_FRAMES = (
    1.0,
    64,
)  # its own rule: transformers 5.23.0, models/smolvlm/video_processing_smolvlm.py
MAX_FRAMES = 512  # all of them are in memory at once


def add(commands: Any) -> None:
    frames = commands.add_parser(
        "frames",
        help="sample frames from a clip, as a model would be shown them",
        description="Sample frames from a clip. By default one a second, 64 at most, as SmolVLM2 does.",
    )
    frames.add_argument("clip", metavar="CLIP", type=Path)
    how = frames.add_mutually_exclusive_group()
    how.add_argument("--count", metavar="N", type=positive, help="evenly spaced frames; with --scenes, how many")
    how.add_argument("--fps", metavar="F", type=_rate, help="frames for each second of the clip or range")
    frames.add_argument("--scenes", action="store_true", help="frames that differ most, so that short events are seen")
    frames.add_argument("--range", metavar="A-B", type=time_range, help="only this part, such as 12:30-13:00")
    frames.add_argument("--max-edge", metavar="PX", type=positive, default=1024, help="larger frames are scaled down")
    frames.add_argument("--out", metavar="DIR", type=Path, help="save each frame there as PNG, in order")
    frames.add_argument("--json", action="store_true", help="one JSON object: frames, clip, notes")
    frames.set_defaults(run=_frames, wrong=frames.error)


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1000")
    return value


def _frames(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.conversations.attachments import save_frames
    from smolvlm_core.video import sample_clip

    sampled = sample_clip(
        args.clip,
        partial(_count, args),
        args.range,
        "scenes" if args.scenes else "even",
        max_edge=args.max_edge,
        progress=lambda done, of: status(f"Frame {done} of {of}"),
    )
    clear_line()
    files = save_frames(sampled, args.out) if args.out else [None] * len(sampled.frames)
    rows = [_row(frame, file) for frame, file in zip(sampled.frames, files)]
    if args.json:
        value = {"frames": rows, "clip": asdict(sampled.facts), "notes": sampled.notes}
        print(json.dumps(value, indent=1, ensure_ascii=False))
        return 0
    print(" · ".join((sampled.facts.describe(), *sampled.facts.details())), file=sys.stderr)
    for note in sampled.notes:
        print(f"note: {note}", file=sys.stderr)
    for row in rows:
        size = f"{row['width']} x {row['height']}"
        line = (
            f"{time_text(row['timestamp_seconds'], 3):>12}  frame {row['frame_index']:<8}{size:12}{row.get('file', '')}"
        )
        print(line.rstrip())
    return 0


def _count(args: argparse.Namespace, facts: ClipFacts) -> int:
    """As requested, or by SmolVLM2's rule. Ends the command where that is too many."""
    from smolvlm_core.video import default_frame_count

    start, end = args.range or (0.0, facts.duration_seconds)
    length = min(end, facts.duration_seconds) - start
    most = facts.frame_count if args.fps else SMOLVLM2_MAX_FRAMES
    count = int(args.count or default_frame_count(length, args.fps or SMOLVLM2_FPS, most))
    if count > MAX_FRAMES:
        args.wrong(f"that is {count} frames; the limit is {MAX_FRAMES}: use --range or a lower --fps")
    return count


def _row(frame: Frame, file: Path | None) -> dict[str, Any]:
    return {
        "timestamp_seconds": round(frame.timestamp_seconds, 6),
        "frame_index": frame.frame_index,
        "width": frame.pixels.shape[1],
        "height": frame.pixels.shape[0],
        "decoder": frame.decoder,
        "damaged": frame.damaged,
        **({"file": str(file)} if file else {}),
    }

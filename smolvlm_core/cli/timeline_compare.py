"""`timeline-compare`: two timelines of one clip, disagreements first."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.timelines import find_timeline
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.timeline.differences import Differences


def add(commands: Any) -> None:
    compare = commands.add_parser(
        "timeline-compare",
        help="compare two timelines of a clip, disagreements first",
        description="Compare what two timelines of one clip say about the same segments. To make the second one with the segments of the "
        "first, use `timeline --segments-of`.",
    )
    compare.add_argument("first", metavar="A", help="a timeline's name, or a clip for its newest one")
    compare.add_argument("second", metavar="B", help="the other timeline's name")
    how = compare.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object")
    how.add_argument("--markdown", metavar="FILE", type=Path, help="write a report")
    compare.set_defaults(run=_compare)


def _compare(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.timeline.differences import compare
    from smolvlm_core.timeline.differences_report import as_markdown, as_object
    from smolvlm_core.timeline.records import leaves

    first, second = find_timeline(args.first, workspace), find_timeline(args.second, workspace)
    if first.clip.sha256 != second.clip.sha256:
        raise LensError("These are timelines of two different clips.", "Compare two of the same clip.")
    if first.identity == second.identity:
        raise LensError("This is one timeline, not two.", "Make another one, with another model or question.")
    segments = workspace.timelines.segments
    found = compare(first, leaves(segments(first.identity)), second, leaves(segments(second.identity)))
    if args.json:
        print(json.dumps(as_object(found), indent=1, ensure_ascii=False))
    elif args.markdown is not None:
        args.markdown.write_text(as_markdown(found), encoding="utf-8")
        print(f"{args.markdown}: {found.describe()}", file=sys.stderr)
    else:
        _print(found)
    return 0


def _print(found: Differences) -> None:
    from smolvlm_core.timeline.differences_report import degree, span_text

    for letter, timeline in zip("AB", found.timelines):
        print(f"{letter}: {timeline.model}, {timeline.identity}", file=sys.stderr)
    for row in found.rows:
        print(f"{span_text(row)}  {degree(row)}")
        for compared in row.compared:
            if compared.disagreement == 0:
                print(f"    {compared.texts[0]}")
                continue
            for letter, text in zip("AB", compared.texts):
                print(f"  {letter} {text or '(no answer)'}")
    print(found.describe(), file=sys.stderr)

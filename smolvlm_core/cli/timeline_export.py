"""`timeline-export`: a stored timeline as a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.terminal import clear_line, status
from smolvlm_core.cli.timelines import find_timeline
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.timeline.export import Format

FORMATS = ("html", "markdown", "srt", "vtt", "chapters", "chapters-vtt", "ffmetadata", "csv", "json")


def add(commands: Any) -> None:
    export = commands.add_parser(
        "timeline-export",
        help="write a timeline as subtitles, chapters, a table, JSON, Markdown or a page that plays the clip",
        description="Write a timeline that `timeline` made as a file. Edited descriptions are used, with the model's own words "
        "beside them where the format has a place for them.",
    )
    export.add_argument(
        "timeline",
        metavar="TIMELINE",
        help="its identity, as `timeline` prints it (the beginning is enough), or the clip: then its newest timeline",
    )
    export.add_argument("--format", choices=FORMATS, required=True)
    export.add_argument(
        "--out",
        metavar="F",
        type=Path,
        help="default: text is printed. html as .zip has the clip beside the page",
    )
    export.set_defaults(run=_export, wrong=export.error)


def _export(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.timeline import export
    from smolvlm_core.timeline.export.stored import content_of

    content = content_of(workspace.timelines, find_timeline(args.timeline, workspace))
    format = export.FORMATS[args.format]
    if args.out is None:
        text, notes = format.make(content) if format.make is not None else ("", [])
        if format.make is None:
            args.wrong(f"--format {args.format} needs --out")
        sys.stdout.write(text)
    else:
        notes = export.write(content, _fitting(format, args.out, content), args.out, lambda text, _: status(text))
        clear_line()
        print(args.out, file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _fitting(format: Format, out: Path, content: Any) -> Format:
    from smolvlm_core.timeline import export

    if format.key != "html":
        return format
    if out.suffix.lower() == ".zip":
        return export.ZIP
    if export.fitting(format, content) is export.ZIP:
        raise LensError("The clip is too large to be in the page.", "Use --out with a name that ends with .zip.")
    return format

"""`timeline-export`: a stored timeline as a file."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.terminal import clear_line, status
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.timeline.export import Format
    from smolvlm_core.timeline.records import Timeline

FORMATS = ("html", "markdown", "srt", "vtt", "chapters", "chapters-vtt", "ffmetadata", "csv", "json")
FEWEST_CHARACTERS = 4  # of an identity


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

    content = content_of(workspace.timelines, _timeline(args.timeline, workspace))
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


def _timeline(name: str, workspace: Workspace) -> Timeline:
    """Raises LensError where there is none, or several."""
    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            found = workspace.timelines.of_clip(hashlib.file_digest(file, "sha256").hexdigest())
        if not found:
            raise LensError(f"There is no timeline of {name}.", f"Make one first: timeline {name}")
        if len(found) > 1:
            others = ", ".join(timeline.identity for timeline in found[1:])
            print(f"note: the newest of {len(found)} timelines of this clip; the others: {others}", file=sys.stderr)
        return found[0]
    found = [timeline for timeline in workspace.timelines.all() if timeline.identity.startswith(name)]
    if len(name) < FEWEST_CHARACTERS or not found:
        raise LensError(f"There is no timeline and no file {name!r}.", "Check the name.")
    if len(found) > 1:
        raise LensError(f"{len(found)} timelines begin with {name!r}.", "Write more of the identity.")
    return found[0]

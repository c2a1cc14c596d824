"""`python -m smolvlm_core`: results on stdout, everything else on stderr. Each command is one module of this package.

Exit codes: 0 success, 1 failure (the reason is on stderr), 2 invalid arguments, 130 interrupted. `check` has its own codes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from smolvlm_core.cli import (
    ask,
    batch,
    check,
    convert,
    cut,
    frames,
    lint,
    models,
    moments,
    serve,
    timeline,
    timeline_compare,
    timeline_export,
    timeline_summary,
    users,
)
from smolvlm_core.cli.terminal import Parser, clear_line, printable_output
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace


def main(argv: Sequence[str] | None = None) -> int:
    with printable_output():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    workspace = Workspace()
    try:
        return int(args.run(args, workspace))
    except LensError as error:
        clear_line()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        clear_line()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        workspace.close()


def _program() -> str:
    """The command as the user typed it."""
    return "smolvlm-lens" if Path(sys.argv[0]).stem == "smolvlm-lens" else "python -m smolvlm_core"


def _parser() -> Parser:
    parser = Parser(prog=_program(), description="Ask SmolVLM2 about images and clips.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        *(ask, batch, frames, models, convert, serve, check, lint),
        *(timeline, moments, timeline_summary, timeline_compare, timeline_export, cut, users),
    ):
        command.add(commands)
    return parser

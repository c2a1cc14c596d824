"""`lint`: what is wrong with a Modelfile, a GGUF pair or a checkpoint folder. Exit codes: 0 nothing, 1 errors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from smolvlm_core.workspace import Workspace


def add(commands: Any) -> None:
    lint = commands.add_parser(
        "lint",
        help="find what makes SmolVLM2 blind in a Modelfile, a .gguf file or a checkpoint folder",
        description="Each finding with its line and the fix. Exit code 1 where there is an error. "
        "Finding nothing is not proof that it sees: `check` is.",
    )
    lint.add_argument(
        "path", metavar="FILE", type=Path, help="a Modelfile, a text model's .gguf or a checkpoint folder"
    )
    lint.add_argument(
        "--write-modelfile", metavar="TO", type=Path, help="write a correct Modelfile for this .gguf and its projector"
    )
    lint.set_defaults(run=_lint, wrong=lint.error)


def _lint(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.llamacpp.lint import lint
    from smolvlm_core.llamacpp.modelfile import write_modelfile

    findings = lint(args.path)
    for finding in findings:
        place = f"{args.path}:{finding.line}" if finding.line else str(args.path)
        print(f"{place}: {finding.level}: {finding.what}.")
        print(f"    {finding.fix}")
    if not findings:
        print(f"{args.path}: nothing found.")
    if args.write_modelfile:
        from smolvlm_core.llamacpp.gguf import find_projector, read_gguf

        if args.path.suffix != ".gguf":
            args.wrong("--write-modelfile needs the text model's .gguf file")
        projector = find_projector(read_gguf(args.path))
        if projector is None:
            return 1  # reported above
        write_modelfile(args.path, projector, args.write_modelfile)
        print(f"wrote {args.write_modelfile}")
    return int(any(f.level == "error" for f in findings))

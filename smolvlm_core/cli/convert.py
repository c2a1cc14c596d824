"""`convert`: a checkpoint folder → GGUF files for llama.cpp, verified and checked."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.check import print_verdict
from smolvlm_core.cli.terminal import clear_line, status, status_with_fraction
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.backends.llama_cpp import GgufEntry
    from smolvlm_core.check import Verdict

LEVELS = {"ok": "ok     ", "warning": "WARNING", "error": "WRONG  "}


def add(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="create GGUF files from a checkpoint, for llama.cpp",
        description="Create a text model and its vision projector from a SmolVLM2 checkpoint, then verify and check them. "
        "Finished files are reused. Nothing is written to the checkpoint's folder. Exit code 1 where the result does not see.",
    )
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help="its folder, or a model's key (see `models`)")
    convert.add_argument("--out", metavar="DIR", type=Path, required=True)
    convert.add_argument(
        "--quantize",
        metavar="Q,Q…",
        default="",
        help="further text models: Q8_0, Q5_K_M, Q4_K_M and others (all but Q8_0 need llama-quantize)",
    )
    convert.add_argument("--projector", choices=("f16", "q8_0"), default="f16", help="how the projector is stored")
    convert.add_argument("--no-check", action="store_true", help="skip the vision check of the result")
    convert.set_defaults(run=_convert)


def _convert(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.backends.llama_cpp import GgufEntry
    from smolvlm_core.llamacpp.build import build, find_checkpoint

    result = build(
        find_checkpoint(args.checkpoint),
        args.out,
        quantizations=[q.strip() for q in args.quantize.split(",") if q.strip()],
        projector_type=args.projector,
        report=status_with_fraction,
        register=GgufEntry.of_files,
        check=None if args.no_check else partial(_check, workspace),
    )
    clear_line()
    for note in result.conversion.notes:
        print(f"note: {note}", file=sys.stderr)
    for file in (*result.conversion.texts, result.conversion.projector):
        print(f"{file.path}  {file.path.stat().st_size / 2**20:.1f} MiB{'  (reused)' if file.reused else ''}")
    for finding in result.findings:
        print(f"{LEVELS[finding.level]} {finding.what}", file=sys.stderr)
    if args.no_check:
        print("not checked: --no-check was given", file=sys.stderr)
    wrong = any(finding.level == "error" for finding in result.findings)
    return int(wrong or any(verdict.verdict in ("blind", "unchecked") for verdict in result.checked))


def _check(workspace: Workspace, entry: GgufEntry) -> Verdict:
    from smolvlm_core.check import check

    backend = entry.make(workspace.pool)
    verdict = check(backend, report=lambda done, text: status(text))
    workspace.verdicts.save(backend, verdict)
    clear_line()
    print_verdict(Path(entry.text).name, verdict)
    backend.close()
    return verdict

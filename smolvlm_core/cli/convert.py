"""`convert`: a checkpoint folder → GGUF files for llama.cpp, looked at and asked afterwards."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from smolvlm_core.cli.check import tell_verdict
from smolvlm_core.cli.terminal import clear_line, status


def add(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="make GGUF files of a checkpoint, for llama.cpp",
        description="Make a text model and its vision projector of a SmolVLM2 checkpoint, then verify them. "
        "Finished files are kept; the checkpoint's folder is not written to. Exit code 1 where what was made does not see.",
    )
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help="its folder, or a model's key (see `models`)")
    convert.add_argument("--out", metavar="DIR", type=Path, required=True)
    convert.add_argument(
        "--quantize", metavar="Q,Q…", default="", help="further text models: Q8_0, Q5_K_M, Q4_K_M and others"
    )
    convert.add_argument("--projector", choices=("f16", "q8_0"), default="f16", help="how the projector is stored")
    convert.add_argument(
        "--no-check", action="store_true", help="do not ask the result questions with known answers afterwards"
    )
    convert.set_defaults(run=_convert)


def checkpoint_folder(name: str) -> tuple[Path, str]:
    """(folder, name for its files) of a path, or of a model known by key, fetched where needed. Raises ModelError."""
    from smolvlm_core.models.catalog import find
    from smolvlm_core.models.load import local_folder

    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, folder.resolve().name
    spec = find(name)
    return local_folder(spec), spec.key


def _convert(args: argparse.Namespace) -> int:
    from smolvlm_core.llamacpp.convert import convert
    from smolvlm_core.llamacpp.verify import verify_pair

    checkpoint, name = checkpoint_folder(args.checkpoint)
    wanted = [q.strip() for q in args.quantize.split(",") if q.strip()]

    def tell(text: str, share: float | None) -> None:
        status(text if share is None else f"{text}: {share:.0%}")

    made = convert(checkpoint, args.out, wanted, args.projector, tell, name)
    clear_line()
    for line in made.told:
        print(f"note: {line}", file=sys.stderr)
    assert made.projector is not None
    for file in (*made.texts, made.projector):
        print(f"{file.path}  {file.path.stat().st_size / 2**20:.1f} MiB{'  (kept)' if file.kept else ''}")
    wrong = 0
    for finding in verify_pair(made.texts[0].path, made.projector.path, checkpoint, made.spec):
        print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.what}", file=sys.stderr)
        wrong += not finding.ok
    if args.no_check:
        print("not asked whether it sees (--no-check)", file=sys.stderr)
        return 1 if wrong else 0
    return 1 if wrong + _blind(made.texts, made.projector.path) else 0


def _blind(texts: Any, projector: Path) -> int:
    """How many of the text models do not see with the projector."""
    from smolvlm_core.backends.registry import gguf_entry, of_entry
    from smolvlm_core.check import check, verdicts

    blind = 0
    for text in texts:
        backend = of_entry(gguf_entry(text.path, projector)).backend
        verdict = check(backend, report=lambda done, text: status(text))
        verdicts.keep(backend, verdict)
        clear_line()
        tell_verdict(text.path.name, verdict)
        backend.close()
        blind += verdict.verdict in ("blind", "unchecked")
    return blind

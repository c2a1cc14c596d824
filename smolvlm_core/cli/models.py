"""`models`: lists the models, their costs, and the default for this machine."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from smolvlm_core.models.catalog import default_model, is_cached, models
from smolvlm_core.models.machine import GIB, this_machine
from smolvlm_core.workspace import Workspace


def add(commands: Any) -> None:
    listing = commands.add_parser("models", help="list the models and the default for this machine")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_models)


def _models(args: argparse.Namespace, workspace: Workspace) -> int:
    machine = this_machine()
    default, reason = default_model(machine)
    rows: list[dict[str, Any]] = [
        {
            "key": s.key,
            "repo_id": s.repo_id,
            "revision": s.revision,
            "parameters": s.parameters,
            "weights_bytes": s.weights_bytes,
            "memory_bytes": s.memory_bytes,
            "tokens_per_square_image": s.tokens_per_square_image,
            "tokens_per_frame": s.geometry.tokens_per_tile,
            "context_tokens": s.context_tokens,
            "licence": s.licence,
            "on_this_machine": is_cached(s),
            "default": s.key == default.key,
            "note": s.note,
        }
        for s in models()
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'':2}{'model':28}{'weights':>10}{'memory':>10}{'image':>8}{'frame':>7}{'context':>9}  here  licence")
    for row in rows:
        mark = "* " if row["default"] else "  "
        sizes = f"{row['weights_bytes'] / GIB:>6.2f} GiB{row['memory_bytes'] / GIB:>6.1f} GiB"
        costs = f"{row['tokens_per_square_image']:>8,}{row['tokens_per_frame']:>7}{row['context_tokens']:>9,}"
        print(f"{mark}{row['key']:28}{sizes}{costs}  {'yes ' if row['on_this_machine'] else 'no  '}  {row['licence']}")
    print("image, frame: tokens for a square image and for one video frame", file=sys.stderr)
    print(f"* {reason}", file=sys.stderr)
    print(f"this machine: {machine.describe()}", file=sys.stderr)
    return 0

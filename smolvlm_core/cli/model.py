"""Which model a command asks. Does not know what is asked."""

from __future__ import annotations

import argparse
import sys

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.models.catalog import default_model
from smolvlm_core.models.machine import this_machine
from smolvlm_core.workspace import Workspace


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="M",
        help="a model's key, hub ID or checkpoint folder, a .gguf file, a server URL, ollama:MODEL, or the name of a backend "
        "added in the app (default: the best model for this machine)",
    )
    command.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")


def chosen_backend(args: argparse.Namespace, workspace: Workspace) -> Backend:
    """The model that was named, or the default, which is printed. Raises LensError."""
    return chosen_entry(args.model, workspace).make(workspace.pool, args.dtype)


def chosen_entry(name: str | None, workspace: Workspace) -> Entry:
    """The entry of a name; without one, the best for this machine, which is printed. Raises LensError."""
    if name is not None:
        return workspace.registry.find(name)
    default, reason = default_model(this_machine())
    entry = workspace.registry.preferred(workspace.registry.find(default.key))
    print(f"{entry.label}: {reason}", file=sys.stderr)
    return entry

"""Which model a command asks. Does not know what is asked."""

from __future__ import annotations

import argparse
import os
import sys

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.models.catalog import default_model
from smolvlm_core.models.machine import this_machine
from smolvlm_core.workspace import Workspace

ENDPOINT_KEY = "SMOLVLM_LENS_ENDPOINT_KEY"


def add_endpoints(command: argparse.ArgumentParser) -> None:
    """For commands whose questions can be spread over several servers."""
    command.add_argument(
        "--endpoint",
        metavar="URL",
        action="append",
        default=[],
        help="ask this OpenAI-compatible server; repeat the option to spread the questions over several. Each is checked first, "
        f"and one that does not see gets none. --model is then the model's name there, ${ENDPOINT_KEY} their API key",
    )


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
    return chosen_entry(args, workspace).make(workspace.pool, args.dtype)


def chosen_entry(args: argparse.Namespace, workspace: Workspace, *, patience_seconds: float = 0.0) -> Entry:
    """The endpoints that were given, or the entry of a name; without both, the best for this machine, which is printed.

    `patience_seconds`: how long a question waits while all endpoints are gone.

    Raises:
        LensError: there is none, or it cannot be used.
    """
    if endpoints := getattr(args, "endpoint", []):
        from smolvlm_core.check.endpoints import EndpointsEntry

        return EndpointsEntry.of_urls(endpoints, args.model or "", os.environ.get(ENDPOINT_KEY, ""), patience_seconds)
    if args.model is not None:
        return workspace.registry.find(args.model)
    default, reason = default_model(this_machine())
    entry = workspace.registry.preferred(workspace.registry.find(default.key))
    print(f"{entry.label}: {reason}", file=sys.stderr)
    return entry

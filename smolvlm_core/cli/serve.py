"""`serve`: an OpenAI-compatible API in front of any backend, or with `--engine llama.cpp` a checked llama-server of a model."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import Any

from smolvlm_core.access.users import Users
from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.cli import serve_llama_cpp
from smolvlm_core.cli.model import add_endpoints, chosen_entry
from smolvlm_core.cli.terminal import clear_line, port, positive, status
from smolvlm_core.workspace import Workspace

API_KEY = "SMOLVLM_LENS_API_KEY"
ENGINES = ("app", "llama.cpp")


def add(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve an OpenAI-compatible API that was checked first",
        description="Serve models to other programs until Ctrl-C. The address is printed on stdout once the model was "
        "checked: it must see.",
    )
    serve.add_argument(
        "--model",
        metavar="M",
        help="what answers where a request names no model; as in `ask`. With llama.cpp: a checkpoint folder, a model's key or "
        "a text model's .gguf file (default: the best model for this machine)",
    )
    add_endpoints(serve)
    serve.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="app (default): any backend, clips included; llama.cpp: one model, converted where needed, in llama-server",
    )
    serve.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (default: this one only)")
    serve.add_argument("--port", type=port, help="default: 8000; with llama.cpp 8080")
    serve.add_argument("--no-check", action="store_true", help="serve without checking first whether it sees")
    _add_api_options(serve.add_argument_group("only with --engine app"))
    _add_llama_cpp_options(serve.add_argument_group("only with --engine llama.cpp"))
    serve.set_defaults(run=_serve, wrong=serve.error)


def _add_api_options(group: Any) -> None:
    group.add_argument(
        "--api-key", metavar="K", help=f"requests must carry it (default: ${API_KEY}, which `ps` does not show)"
    )
    group.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[], help="also answer to this host name"
    )
    group.add_argument(
        "--allow-urls",
        metavar="HOST",
        nargs="+",
        action="extend",
        default=[],
        help="fetch pictures and clips from these web hosts (default: none)",
    )
    group.add_argument("--max-requests", metavar="N", type=positive, default=32, help="that run and wait at once")
    group.add_argument("--max-body-mb", metavar="N", type=positive, default=64, help="of a request (default: 64)")
    group.add_argument("--timeout", metavar="S", type=positive, default=600, help="seconds for one answer")


def _add_llama_cpp_options(group: Any) -> None:
    group.add_argument("--projector", metavar="F", type=Path, help="the mmproj file (default: the one beside it)")
    group.add_argument("--quantize", metavar="Q", help="serve this quantization of a checkpoint (default: F16)")
    group.add_argument("--out", metavar="DIR", type=Path, help="where converted files are kept")
    group.add_argument("--ctx-size", metavar="N", type=positive, help="context in tokens (default: the model's own)")
    group.add_argument("--gpu-layers", metavar="N", type=int, help="layers on the GPU (default: llama-server decides)")
    group.add_argument("--threads", metavar="N", type=positive)
    group.add_argument("--llama-server", metavar="F", default="", help="the program to use: a path, or xllamacpp")


def _serve(args: argparse.Namespace, workspace: Workspace) -> int:
    if args.engine == "llama.cpp":
        if args.model is None or args.endpoint:
            args.wrong("--engine llama.cpp needs --model, and takes no --endpoint")
        return serve_llama_cpp.serve(args, workspace)
    return _serve_api(args, workspace)


def _serve_api(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.api.app import build_api
    from smolvlm_core.api.options import LOOPBACK_HOSTS, ApiOptions
    from smolvlm_core.api.server import bind, run

    key = args.api_key if args.api_key is not None else os.environ.get(API_KEY, "")
    if not key.isascii() or not key.isprintable():
        args.wrong("the API key has characters that cannot be sent")
    is_local = args.host in LOOPBACK_HOSTS
    users = Users(workspace.folder)
    if not is_local and not key and not any(user.keys for user in users.all()):
        args.wrong(
            f"--host {args.host} lets other machines in: set an API key, with {API_KEY} or --api-key, or give users keys of "
            "their own: `users key NAME`"
        )
    options = ApiOptions(
        api_key=key,
        users=users,
        is_shared=not is_local,
        allowed_hosts=(*LOOPBACK_HOSTS, *args.allow_host) if is_local else ("*",),  # others need the key
        url_hosts=tuple(args.allow_urls),
        max_body_bytes=args.max_body_mb * 2**20,
        max_requests=args.max_requests,
        timeout_seconds=float(args.timeout),
    )
    entry = chosen_entry(args, workspace)
    listening = bind(args.host, args.port or 8000)
    if args.endpoint:
        _wait_for_endpoints(entry.make(workspace.pool))
    elif args.no_check:
        entry.make(workspace.pool).preload()
    elif not _sees(workspace, entry):
        return 1
    app = build_api(workspace, entry, options)
    host = f"[{args.host}]" if ":" in args.host else args.host
    address = f"http://{host}:{listening.getsockname()[1]}/v1"
    run(app, listening, lambda: _ready(address, entry.label))
    return 0


def _ready(address: str, label: str) -> None:
    print(address, flush=True)
    print(f"OpenAI-compatible; answers with {label}; Ctrl-C stops it.", file=sys.stderr)


def _wait_for_endpoints(backend: Backend) -> None:
    """Until each was checked. Raises BackendError where none sees; the others may come later."""
    status("Checking the endpoints")
    try:
        backend.capabilities()
    finally:
        clear_line()
    print(backend.status().text, file=sys.stderr)


def _sees(workspace: Workspace, entry: Entry) -> bool:
    """By the last verdict, or by a check now, which also loads the model."""
    from smolvlm_core.cli.check import print_verdict

    backend = entry.make(workspace.pool)
    last = workspace.verdicts.last(backend)
    if last is not None and last.verdict in ("sees", "degraded"):
        backend.preload()
        print(f"{backend.name}: {last.verdict}, by its last check", file=sys.stderr)
        return True
    verdict = workspace.checks.check_in_turn(backend, lambda text, _: status(text), threading.Event())
    clear_line()
    print_verdict(backend.name, verdict)
    if verdict.verdict in ("blind", "unchecked"):
        why = "it does not see" if verdict.verdict == "blind" else "it could not be checked"
        print(f"error: {why}; not served. Use --no-check to serve it anyway.", file=sys.stderr)
    return verdict.verdict in ("sees", "degraded")

"""`serve --engine llama.cpp`: from a checkpoint folder or a GGUF file to a running, checked llama.cpp server, in one command."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import threading
import time
from pathlib import Path

from smolvlm_core.cli.check import print_verdict
from smolvlm_core.cli.terminal import clear_line, status, status_with_fraction
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.workspace import Workspace

DEFAULT_PORT = 8080  # llama-server's own
KEY = "LLAMA_API_KEY"  # as llama-server reads it


def serve(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.backends.llama_cpp import GgufEntry
    from smolvlm_core.llamacpp.gguf import read_gguf
    from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions

    text = _text_model(args)
    entry = GgufEntry.of_files(text, args.projector)
    if not entry.projector:
        raise LensError(
            f"{text.name} has no projector beside it: it would answer about pictures that it never saw.",
            "Give its mmproj file with --projector, or convert the checkpoint: `python -m smolvlm_core convert`.",
        )
    facts = read_gguf(text)
    context = min(args.ctx_size or facts.context_tokens, facts.context_tokens)
    options = ServerOptions(
        text,
        Path(entry.projector),
        context,
        gpu_layers=args.gpu_layers,
        threads=args.threads,
        program=args.llama_server,
        host=args.host,
        port=args.port or DEFAULT_PORT,
    )
    chosen = os.environ.get(KEY)  # "": none is wanted
    made = secrets.token_urlsafe() if chosen is None else ""
    server = LlamaServer.start(options, lambda line, _: status(line), api_key=made)
    try:
        clear_line()
        print(f"llama.cpp {server.program.short_version}: {server.program.why}", file=sys.stderr)
        if server.program.warning:
            print(f"warning: {server.program.warning}", file=sys.stderr)
        if not args.no_check and not _sees(server.url, server.api_key, text.name):
            return 1
        if made:
            print(f"API key: {made} (of this run; set {KEY} to choose one)", file=sys.stderr)
        print(f"{server.url}/v1", flush=True)
        print(f"OpenAI-compatible; log: {server.log}; Ctrl-C stops it.", file=sys.stderr)
        while server.alive:
            time.sleep(0.5)
        raise BackendError(f"llama-server ended: {server.why_it_ended()}", f"Its log is {server.log}.")
    finally:
        server.stop()


def _sees(url: str, api_key: str, name: str) -> bool:
    from smolvlm_core.backends.remote.openai import OpenAIBackend
    from smolvlm_core.check import check

    verdict = check(
        OpenAIBackend(url, api_key=api_key), report=lambda done, text: status(text), cancel=threading.Event()
    )
    clear_line()
    print_verdict(name, verdict)
    if verdict.verdict in ("blind", "unchecked"):
        why = "it does not see" if verdict.verdict == "blind" else "it could not be checked"
        print(f"error: {why}; not served. Use --no-check to serve it anyway.", file=sys.stderr)
    return verdict.verdict in ("sees", "degraded")


def _text_model(args: argparse.Namespace) -> Path:
    """The .gguf given, or the one converted from a checkpoint."""
    if args.model.endswith(".gguf"):
        return Path(args.model)
    from smolvlm_core.llamacpp.build import build, find_checkpoint

    checkpoint = find_checkpoint(args.model)
    conversion = build(
        checkpoint,
        args.out or checkpoint.default_output,
        quantizations=[args.quantize] if args.quantize and args.quantize.upper() != "F16" else [],
        report=status_with_fraction,
    ).conversion
    clear_line()
    args.projector = args.projector or conversion.projector.path
    return conversion.texts[-1].path

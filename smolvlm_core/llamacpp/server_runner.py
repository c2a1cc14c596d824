"""Runs llama.cpp's server from the package xllamacpp, as llama-server runs it: same arguments, environment and log.

    python -P server_runner.py --model FILE --port N …

The only module that imports xllamacpp. Knows the arguments that `server.arguments` writes, and no others.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--mmproj", default="")
    parser.add_argument("--alias", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--gpu-layers", type=int, default=-1)  # -1: as many as fit
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or os.cpu_count() or 1)
    parser.add_argument("--image-max-tokens", type=int, default=-1)  # -1: the model's own
    parser.add_argument("--chat-template-file", type=Path)
    parser.add_argument("--jinja", action="store_true", default=True)
    parser.add_argument("--slots", action="store_true")
    parser.add_argument("--no-webui", dest="webui", action="store_false")
    return parser.parse_args(arguments)


def parameters(args: argparse.Namespace) -> Any:
    """xllamacpp's CommonParams. A name that it does not have raises AttributeError."""
    from xllamacpp import CommonParams

    made = CommonParams()
    made.model.path, made.mmproj.path = args.model, args.mmproj
    made.model_alias = {args.alias} if args.alias else set()
    made.hostnames, made.port = [args.host], args.port
    made.n_ctx, made.n_parallel = args.ctx_size, args.parallel
    made.n_gpu_layers, made.image_max_tokens = args.gpu_layers, args.image_max_tokens
    made.cpuparams.n_threads = args.threads
    made.use_jinja, made.endpoint_slots, made.ui = args.jinja, args.slots, args.webui
    if args.chat_template_file is not None:
        made.chat_template = args.chat_template_file.read_text(encoding="utf-8")
    # In the environment, as for llama-server: other users of this machine can read a process's arguments.
    made.api_keys = [key for key in os.environ.get("LLAMA_API_KEY", "").split(",") if key]
    if origins := os.environ.get("LLAMA_ARG_CORS_ORIGINS"):
        made.cors_origins, made.cors_origins_explicit = origins, True
    return made


def load_openmp() -> None:
    """xllamacpp's Linux wheels need libgomp, which small systems lack (Debian's "slim" images). torch brings a copy."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        torch = importlib.util.find_spec("torch")  # not imported: that takes a second and much memory
        for folder in (torch.submodule_search_locations or ()) if torch is not None else ():
            copy = Path(folder) / "lib" / "libgomp.so.1"
            if copy.is_file():
                ctypes.CDLL(str(copy), mode=ctypes.RTLD_GLOBAL)  # found by its name when xllamacpp is loaded


def main() -> None:
    load_openmp()
    from xllamacpp import Server

    try:
        server = Server(parameters(parse(sys.argv[1:])))  # answers as long as this object lives
    except RuntimeError as error:
        time.sleep(1)  # llama.cpp says why in its log, which a thread of its own writes
        sys.exit(f"error: {error}")
    # After the start, because xllamacpp sets handlers of its own, which end the server and not this process.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the app decides
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()

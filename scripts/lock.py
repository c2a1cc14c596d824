"""Writes requirements.lock: one version of every package that requirements.txt brings, for all systems it runs on.

    python scripts/lock.py

Prefers the versions of this environment, which the tests ran with. Options are passed on to `uv pip compile`, such as
`--upgrade`, or `--index-url` where uv does not find your registry.

The CUDA packages of torch are left out: pip adds those that the build of torch on your machine asks for. They are pinned by it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OF_TORCH = re.compile(r"(nvidia|cuda|triton)[\w.-]*==")  # only where torch is built for CUDA
HEADER = """\
# Made by `python scripts/lock.py` from requirements.txt: every package with its version, for Linux, macOS and Windows with
# Python 3.11 or later. torch's CUDA packages are not listed: pip installs them where torch's build needs them.
"""


def locked_lines(compiled: str) -> list[str]:
    """Lines of `uv pip compile`, with one line for torch (a local build such as +cpu is not everywhere) and no CUDA packages."""
    lines = [line for line in compiled.splitlines() if re.match(r"[\w.-]+==", line) and not OF_TORCH.match(line)]
    lines = [re.sub(r"^(torch==[\d.]+).*", r"\1", line) for line in lines]
    return list(dict.fromkeys(lines))


def main() -> None:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print("usage: python scripts/lock.py [options of uv pip compile]\n\n" + (__doc__ or ""))
        return
    with tempfile.TemporaryDirectory() as folder:
        installed = Path(folder) / "installed.txt"
        versions = {d.name: d.version.split("+")[0] for d in distributions()}
        installed.write_text("".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))
        command = ["uv", "pip", "compile", "requirements.txt", "--universal", "--python-version", "3.11", "--quiet"]
        command += ["--no-annotate", "--no-header", "--constraint", str(installed), *sys.argv[1:]]
        compiled = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    LOCK.write_text(HEADER + "\n".join(locked_lines(compiled)) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(locked_lines(compiled))} packages")


if __name__ == "__main__":
    main()

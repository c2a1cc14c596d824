"""One command checks everything: ruff, mypy, and that the documented commands start, run with the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "models" / "smolvlm-shapes" / "README.md"]
TOOLS = sorted(
    {
        tool
        for document in DOCUMENTS
        for tool in re.findall(
            r"python ((?:-m )?(?:benchmarks|scripts|training)[\w./]+\w)", document.read_text("utf-8")
        )
    }
)


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_checkers_find_nothing(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_documented_tools_start(tool: str) -> None:
    done = subprocess.run([sys.executable, *tool.split(), "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr

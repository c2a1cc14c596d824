"""The test run includes the linters: ruff, mypy, the import contracts, file lengths, and what the documents tell users to run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from smolvlm_core import cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "models" / "smolvlm-shapes" / "README.md"]
TOOL_COMMAND = re.compile(r"python ((?:-m )?(?:benchmarks|scripts|training)[\w./]+\w)")
TOOLS = sorted({tool for document in DOCUMENTS for tool in TOOL_COMMAND.findall(document.read_text("utf-8"))})
COMMAND = re.compile(r"^python -m smolvlm_core (.+)$", re.MULTILINE)
COMMANDS = sorted({command for document in DOCUMENTS for command in COMMAND.findall(document.read_text("utf-8"))})
LINTERS = ["ruff check .", "ruff format --check .", "mypy", "lint-imports --no-cache"]
MAX_LINES = {"smolvlm_core": 300, "ui": 300, "pages": 120}


@pytest.mark.parametrize("command", LINTERS)
def test_linters_find_nothing(command: str) -> None:
    name, *arguments = command.split()
    program = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert program is not None, f"{name} is not installed: pip install -r requirements-dev.txt"
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", MAX_LINES)
def test_files_are_short(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for suffix in ("py", "js", "css", "html", "j2")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    }
    assert lengths, f"{folder} has no files"
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES[folder]} == {}


@pytest.mark.parametrize("tool", TOOLS)
def test_documented_tools_start(tool: str) -> None:
    done = subprocess.run([sys.executable, *tool.split(), "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_commands_are_accepted(command: str) -> None:
    cli._parser().parse_args(shlex.split(command, comments=True))  # exits where an argument is wrong


def test_tests_that_documents_name_exist() -> None:
    for document in sorted((ROOT / "docs").glob("*.md")):
        for file, name in re.findall(r"(test_\w+\.py)::(test_\w+)", document.read_text(encoding="utf-8")):
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (
                f"{document.name}: {file}::{name}"
            )

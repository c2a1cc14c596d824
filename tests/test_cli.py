from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Writer, drawn

ROOT = Path(__file__).resolve().parent.parent


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smolvlm_core", *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def red_circle(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    drawn().save(path)
    return path


def test_answers_on_stdout_all_else_on_stderr(red_circle: Path) -> None:
    done = run("ask", "--model", "smolvlm-shapes", "--image", red_circle, "What color is the circle?")
    assert (done.returncode, done.stdout) == (0, "Red.\n")
    assert "180 image tokens" in done.stderr


def test_json(red_circle: Path, write_clip: Writer) -> None:
    done = run(
        "ask",
        "--model",
        "smolvlm-shapes",
        "--image",
        red_circle,
        "--image",
        red_circle,
        "--json",
        "How many images are there?",
    )
    value = json.loads(done.stdout)
    assert (
        value["model"] == "smolvlm-shapes" and value["stats"]["image_tokens"] == 360 and len(value["attachments"]) == 2
    )
    done = run("ask", "--model", "smolvlm-shapes", "--video", write_clip(), "--frames", 3, "--json", "What happens?")
    assert len(json.loads(done.stdout)["frames"]) == 3


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("ask",), 2, "question"),
        (("ask", "--frames", "0", "x"), 2, "not at least 1"),
        (("ask", "--model", "nonsense", "x"), 1, "no model called 'nonsense'"),
        (("ask", "--image", "missing.png", "x"), 1, "missing.png cannot be read"),
        (("ask", "--image", "README.md", "x"), 1, "not a picture"),
        (("ask", "--video", "README.md", "x"), 1, "not a clip"),
        (("ask", "--video", "a.mp4", "--image", "b.png", "x"), 2, "cannot be used together"),
        (("ask", "--frames", "3", "x"), 2, "--frames needs --video"),
        (("ask", "--temperature", "-1", "x"), 2, "temperature is -1.0; 0.0 to 5.0 is allowed"),
        (("ask", "what is <image>"), 1, "reserves"),
        (("frobnicate",), 2, "invalid choice"),
    ],
)
def test_mistakes_are_said_on_stderr_with_an_exit_code(args: tuple[str, ...], code: int, says: str) -> None:
    done = run(*args)
    assert done.returncode == code and says in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


def test_models_are_listed_with_the_default() -> None:
    done = run("models")
    assert done.returncode == 0 and "SmolVLM2-2.2B-Instruct" in done.stdout and "* " in done.stdout
    rows = json.loads(run("models", "--json").stdout)
    assert sum(row["default"] for row in rows) == 1 and all(row["memory_bytes"] > 0 for row in rows)

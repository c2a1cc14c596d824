"""Rules that neither the import contracts in pyproject.toml nor a linter can express."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "smolvlm_core").rglob("*.py"))
HEAVY = {"torch", "transformers", "cv2", "decord"}  # each takes from tenths of a second to seconds to import
DRAWN_FIRST = (
    "smolvlm_core.backends.transformers",
    "smolvlm_core.cli",
    "smolvlm_core.conversations.answering",
    "smolvlm_core.conversations.attachments",
    "smolvlm_core.conversations.context",
    "smolvlm_core.conversations.export",
    "smolvlm_core.models.load",
    "smolvlm_core.video",
    "ui.chat.sidebar",
    "ui.chat.transcript",
    "ui.clip.selection",
    "ui.gallery",
)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_remote_code_is_never_trusted(path: Path) -> None:
    assert "trust_remote_code=True" not in path.read_text("utf-8")


def test_a_page_is_drawn_before_heavy_libraries_are_imported() -> None:
    code = f"import sys, {', '.join(DRAWN_FIRST)}; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

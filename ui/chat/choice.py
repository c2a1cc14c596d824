"""What the sidebar decides for the next question."""

from __future__ import annotations

from dataclasses import dataclass

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings


@dataclass(frozen=True)
class Choice:
    """The entry that was chosen, its backend, and the settings."""

    entry: Entry
    backend: Backend
    settings: GenerationSettings

    def memory_of(self, prompt: Prompt) -> int:
        """The predicted memory of an answer in bytes; 0 where it is unknown."""
        return self.backend.memory_bytes(prompt, self.settings)

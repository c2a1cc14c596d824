"""What answers a prompt: one contract, one file a backend."""

from smolvlm_core.backends.base import Backend, Capabilities, Delta, Event, Progress
from smolvlm_core.prompt.generation import GenerationSettings, Stats

__all__ = ["Backend", "Capabilities", "Delta", "Event", "GenerationSettings", "Progress", "Stats"]

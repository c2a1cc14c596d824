"""What answers a prompt: one contract, one file a backend."""

from smolvlm_core.backends.base import Backend, Capabilities, Delta, Event, GenerationSettings, Progress, Stats

__all__ = ["Backend", "Capabilities", "Delta", "Event", "GenerationSettings", "Progress", "Stats"]

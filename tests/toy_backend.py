"""A backend as someone outside of the project would write it: one file that defines a Backend and its Entry.

It measures the mean colour of the first picture, so it truly sees colours, and nothing else.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from smolvlm_core.backends.base import Backend, Capabilities, Cause, Entry
from smolvlm_core.models.catalog import bundled
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats
from smolvlm_core.work.pool import Pool

COLORS = {"red": (220, 30, 30), "green": (30, 150, 50), "blue": (30, 70, 220), "yellow": (250, 215, 20)}


class ToyBackend(Backend):
    """Names the colour of a shape on a plain background."""

    kind = "toy"
    note = "A toy. It knows four colors."

    def __init__(self, name: str) -> None:
        self.name, self.spec = name, bundled()

    def identity(self) -> str:
        return f"toy {self.name}"

    def capabilities(self) -> Capabilities:
        return Capabilities(images=True, video=False, streaming=True, context_tokens=2048)

    @property
    def reads_text(self) -> bool:
        return False

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        yield Progress("Measuring")
        answer = _nearest(prompt.slots[0]) if prompt.slots else "I see no picture"
        for word in re.findall(r"\S+\s*", f"{answer.capitalize()}."):
            yield Delta(word)
        yield Stats(
            "end", new_tokens=1, prompt_tokens=9 + 50 * len(prompt.slots), prompt_fingerprint=prompt.fingerprint
        )

    def diagnose(self, verdict: str, unseen: tuple[str, ...] = ()) -> Iterable[Cause]:
        yield Cause("it only knows colors.", "Use a model.")


def _nearest(slot: Slot) -> str:
    """The colour of what differs from the background."""
    pixels = list(slot.open().convert("RGB").resize((48, 48)).get_flattened_data())
    shape = [pixel for pixel in pixels if sum(abs(a - b) for a, b in zip(pixel, pixels[0])) > 90] or pixels
    mean = [sum(channel) / len(shape) for channel in zip(*shape)]
    return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], mean)))


@dataclass(frozen=True, kw_only=True)
class ToyEntry(Entry):
    kind: ClassVar[str] = "toy"

    def make(self, pool: Pool, precision: str = "") -> ToyBackend:
        return ToyBackend(self.title)

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        return cls(key=name, title=name.removeprefix("toy:")) if name.startswith("toy:") else None

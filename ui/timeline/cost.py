"""What a segment takes of a model's context. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.geometry import estimate_tokens
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.video import ClipFacts


@dataclass(frozen=True)
class SegmentCost:
    """`tokens`: of one segment with its longest question. `answer`: the longest one allowed."""

    tokens: int
    answer: int
    context: int

    @property
    def fits(self) -> bool:
        return self.tokens + min(self.answer, 64) <= self.context

    def describe(self) -> str:
        return f"A segment takes about {self.tokens:,} of the model's {self.context:,} tokens."


def of_segment(
    spec: ModelSpec, facts: ClipFacts, frames: int, questions: Sequence[str], settings: GenerationSettings
) -> SegmentCost:
    longest = max(questions, key=len, default="")
    tokens = _tokens(spec, (facts.width, facts.height, facts.duration_seconds), frames, longest, settings.system_prompt)
    return SegmentCost(tokens, settings.max_new_tokens, spec.context_tokens)


@lru_cache(maxsize=64)  # the page is drawn again with every click
def _tokens(spec: ModelSpec, clip: tuple[int, int, float], frames: int, question: str, system_prompt: str) -> int:
    width, height, seconds = clip
    shown = tuple(FrameRef(seconds * number / max(1, frames), number, str(number)) for number in range(frames))
    attachment = Attachment(
        kind="video", sha256="", name="", mime="", width=width, height=height, frames=shown, duration_seconds=seconds
    )
    return sum(
        estimate_tokens(build_prompt([Message("user", question, (attachment,))], _never, system_prompt), spec.geometry)
    )


def _never(sha256: str) -> Image.Image:
    raise AssertionError(f"{sha256} is not looked at to count tokens")

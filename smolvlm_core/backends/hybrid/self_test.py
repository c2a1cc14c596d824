"""Does the hybrid backend answer like transformers here, and sooner? Asked once; where it does, it becomes the default.

Knows two backends by their contract, and the samples that come with the project.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from PIL import Image

from smolvlm_core.backends.base import Backend, Reply, SelfTest, SelfTestResult, collect
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.errors import LensError, OutOfMemoryError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import Remembered
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.download import local_folder
from smolvlm_core.models.load import weights_key
from smolvlm_core.models.machine import describe_bytes, installed_version
from smolvlm_core.paths import GALLERY, data_folder
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.work.pool import Pool
from smolvlm_core.work.report import Report

ANSWER = GenerationSettings(max_new_tokens=32)
QUESTIONS = ("What do you see?", "What color is the background?")
# The first of the project's samples warms up: it loads, converts and tries encoders. Of the others, each backend is shown half
# first: the other one finds the pictures in the cache of encoded pictures.
PICTURES = 5
ENOUGH = 0.85  # of the answers must be the same: rounding can turn a near tie
_rows = Remembered(lambda: data_folder() / "hybrid.json")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`speedup`: transformers' time over the hybrid backend's. `problem`: why it could not be tested."""

    asked: int = 0
    same: int = 0
    speedup: float = 0.0
    problem: str = ""

    def result(self) -> SelfTestResult:
        if self.problem:
            return SelfTestResult(is_better=False, text=f"The self-test could not run: {self.problem}")
        text = f"Self-test: {self.same} of {self.asked} answers equal transformers', {self.speedup:.1f} × its speed"
        return SelfTestResult(is_better=self.same >= ENOUGH * self.asked and self.speedup > 1, text=text)


class HybridSelfTest(SelfTest):
    """`make`: builds the hybrid backend from a pool."""

    def __init__(self, spec: ModelSpec, make: Callable[[Pool], Backend]) -> None:
        self._spec, self._make = spec, make

    def result(self) -> SelfTestResult | None:
        row = _rows.get(self._key()) if catalog.is_cached(self._spec) else None
        try:
            return read_object(Outcome, row).result() if row is not None else None
        except FieldError as error:
            _rows.skip(self._key(), error)
            return None

    def run(self, pool: Pool, report: Report, cancel: threading.Event) -> SelfTestResult:
        self._refuse_if_too_large()
        transformers, hybrid = TransformersBackend(self._spec, pool=pool), self._make(pool)
        try:
            outcome = compare(transformers, hybrid, report, cancel)
        except LensError as error:
            if cancel.is_set():
                raise
            outcome = Outcome(problem=str(error))
        self.remember(outcome)
        return outcome.result()

    def remember(self, outcome: Outcome) -> None:
        _rows.put(self._key(), asdict(outcome))

    def _refuse_if_too_large(self) -> None:
        free = int(psutil.virtual_memory().available)
        if free < self._spec.memory_bytes:  # beside the model that answered
            raise OutOfMemoryError(
                f"The self-test needs about {describe_bytes(self._spec.memory_bytes)} of memory; {describe_bytes(free)} is free.",
                "Close other programs, or release other models on the Backends page.",
            )

    def _key(self) -> str:
        versions = map(installed_version, ("llama-cpp-python", "transformers", "torch"))
        return " ".join([weights_key(local_folder(self._spec)), *versions])


def compare(transformers: Backend, hybrid: Backend, report: Report, cancel: threading.Event) -> Outcome:
    """Ask both the same questions about the samples. Raises LensError where one fails or it was stopped."""
    prompts = list(_prompts())
    same, seconds = 0, {transformers: 0.0, hybrid: 0.0}
    for i, (picture, prompt) in enumerate(prompts):
        report(f"Comparing with transformers: question {i + 1} of {len(prompts)}", i / len(prompts))
        replies: dict[Backend, Reply] = {}
        for backend in (transformers, hybrid) if picture % 2 else (hybrid, transformers):
            replies[backend] = collect(backend.generate(prompt, ANSWER, cancel))
            if picture > 0:
                seconds[backend] += _working_seconds(replies[backend])
        if cancel.is_set():
            raise LensError("The self-test was stopped.")
        same += replies[hybrid].text == replies[transformers].text
    return Outcome(asked=len(prompts), same=same, speedup=seconds[transformers] / max(seconds[hybrid], 1e-9))


def _working_seconds(reply: Reply) -> float:
    return reply.stats.total_seconds - reply.stats.queued_seconds - reply.stats.load_seconds


def _prompts() -> Iterator[tuple[int, Prompt]]:
    """(number of the picture, question about it)."""
    for number, path in enumerate(sorted(GALLERY.glob("*.png"))[:PICTURES]):
        for question in QUESTIONS:
            yield number, _prompt(path, question)


def _prompt(path: Path, question: str) -> Prompt:
    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    attachment = Attachment(
        kind="image", sha256=digest, name=path.name, mime="image/png", width=shown.width, height=shown.height
    )
    return build_prompt([Message("user", question, (attachment,))], {digest: shown}.__getitem__)

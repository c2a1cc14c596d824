"""Does the hybrid backend answer like transformers here, and sooner? Asked once; where it does, it becomes the default.

Knows two backends by their contract, and the samples that come with the project.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image

from smolvlm_core.backends.base import Backend, Reply, collect
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.files import read_json, write_json
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.paths import GALLERY, data_folder
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.work.report import Report

logger = logging.getLogger(__name__)
ANSWER = GenerationSettings(max_new_tokens=32)
QUESTIONS = ("What do you see?", "What color is the background?")
PICTURES = 4
ENOUGH = 0.85  # of the answers must be the same: rounding can turn a near tie


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """`speedup`: total time of transformers' answers over the hybrid backend's. `problem`: why it could not be tested."""

    asked: int = 0
    same: int = 0
    speedup: float = 0.0
    problem: str = ""

    @property
    def is_better(self) -> bool:
        return not self.problem and self.asked > 0 and self.same >= ENOUGH * self.asked and self.speedup > 1

    def describe(self) -> str:
        if self.problem:
            return f"The self-test could not run: {self.problem}"
        answers = f"{self.same} of {self.asked} answers equal transformers'"
        return f"Self-test: {answers}, {self.speedup:.1f} × its speed"


def run_self_test(
    spec: ModelSpec, hybrid: Backend, transformers: Backend, report: Report, cancel: threading.Event
) -> SelfTest:
    """Ask both the same questions about the project's sample pictures, and remember the result.

    A LensError of either is the result's problem. Raises LensError where it was stopped.
    """
    prompts = list(_prompts())
    same, seconds = 0, {hybrid: 0.0, transformers: 0.0}
    try:
        for i, prompt in enumerate(prompts):
            report(f"Comparing with transformers: question {i + 1} of {len(prompts)}", i / len(prompts))
            replies: dict[Backend, Reply] = {}
            for backend in (transformers, hybrid):
                replies[backend] = collect(backend.generate(prompt, ANSWER, cancel))
                if i > 0:  # the first one loads, converts and tries encoders
                    seconds[backend] += _working_seconds(replies[backend])
            same += replies[hybrid].text == replies[transformers].text
            if cancel.is_set():
                raise LensError("The self-test was stopped.")
        result = SelfTest(asked=len(prompts), same=same, speedup=seconds[transformers] / max(seconds[hybrid], 1e-9))
    except LensError as error:
        if cancel.is_set():
            raise
        result = SelfTest(problem=str(error))
    _save(spec, result)
    return result


def last_result(spec: ModelSpec) -> SelfTest | None:
    """None where these weights were not tested with these versions."""
    row = _read().get(_key(spec))
    try:
        return SelfTest(**row) if isinstance(row, dict) else None
    except TypeError:
        return None


def _working_seconds(reply: Reply) -> float:
    return reply.stats.total_seconds - reply.stats.queued_seconds - reply.stats.load_seconds


def _prompts() -> Iterator[Prompt]:
    for path in sorted(GALLERY.glob("*.png"))[:PICTURES]:
        for question in QUESTIONS:
            yield _prompt(path, question)


def _prompt(path: Path, question: str) -> Prompt:
    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    attachment = Attachment(
        kind="image", sha256=digest, name=path.name, mime="image/png", width=shown.width, height=shown.height
    )
    return build_prompt([Message("user", question, (attachment,))], {digest: shown}.__getitem__)


def _key(spec: ModelSpec) -> str:
    files = sorted(spec.folder.glob("*.safetensors")) if spec.folder is not None else []
    state = [f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return " ".join([spec.weights_id, *state, *map(_version, ("llama-cpp-python", "transformers", "torch"))])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _path() -> Path:
    return data_folder() / "hybrid.json"


def _read() -> dict[str, Any]:
    try:
        rows = read_json(_path(), {})
    except StoreError as error:
        logger.warning("%s", error)
        return {}
    return rows if isinstance(rows, dict) else {}


def _save(spec: ModelSpec, result: SelfTest) -> None:
    try:
        write_json(_path(), {**_read(), _key(spec): asdict(result)})
    except StoreError as error:
        logger.warning("the self-test is not remembered: %s", error)

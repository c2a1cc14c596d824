"""Whether two GGUF files are complete and match, as far as their metadata shows: the lint, the template and the geometry.

Asking questions is the proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.gguf import GgufFacts, read_gguf
from smolvlm_core.llamacpp.gguf_lint import pair_finding, template_of, text_model_findings
from smolvlm_core.models.catalog import ModelSpec

AGAIN = "Convert the checkpoint again."


def verify_pair(
    text_path: Path, projector_path: Path | None, checkpoint: Path | None, spec: ModelSpec
) -> list[Finding]:
    """One finding for each thing looked at, right ones too. `checkpoint`: what the files were converted from, where it is at hand.

    Raises:
        ModelError: a file is missing or not a complete GGUF.
    """
    text = read_gguf(text_path)
    findings = list(text_model_findings(text))
    if checkpoint is not None:
        findings.append(_template_finding(text, checkpoint))
    if projector_path is None:
        alone = "There is no projector: this is the text model alone, and it sees nothing"
        return [*findings, Finding("error", alone, "Convert the checkpoint: that creates both files.")]
    projector = read_gguf(projector_path)
    return [*findings, pair_finding(text, projector), *_geometry_findings(projector, spec)]


def _template_finding(text: GgufFacts, checkpoint: Path) -> Finding:
    if text.chat_template.strip() == template_of(checkpoint).strip():
        return Finding("ok", "The chat template is the checkpoint's")
    return Finding("error", "The chat template is not the checkpoint's", AGAIN)


def _geometry_findings(projector: GgufFacts, spec: ModelSpec) -> Iterator[Finding]:
    kind, wanted = projector.projector_type, spec.geometry
    yield Finding("ok" if kind == "idefics3" else "error", f"The projector's type is {kind or 'unknown'}", AGAIN)
    for what, value, expected, unit in (
        ("tile", projector.tile, wanted.tile, " px"),
        ("longest edge", projector.longest_edge, wanted.longest_edge, " px"),
        ("tokens per tile", projector.tokens_per_tile, wanted.tokens_per_tile, ""),
    ):
        if value == expected:
            yield Finding("ok", f"Its {what}: {value}{unit}")
        else:
            yield Finding("error", f"Its {what}: {value}{unit}; the checkpoint's is {expected}{unit}", AGAIN)

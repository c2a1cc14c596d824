"""Whether two GGUF files are a whole, matching SmolVLM2, as far as their metadata can tell. Asking is the proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smolvlm_core.llamacpp.gguf import GgufFacts, read_gguf, why_not_a_pair
from smolvlm_core.models.catalog import ModelSpec, read_json
from smolvlm_core.prompt.template import END_OF_UTTERANCE


@dataclass(frozen=True)
class Finding:
    ok: bool
    what: str


def verify_pair(
    text_path: Path, projector_path: Path | None, checkpoint: Path | None, spec: ModelSpec
) -> list[Finding]:
    """One finding for each thing looked at. `checkpoint`: what they were made of, where it is at hand.

    Raises:
        ModelError: a file is missing or no whole GGUF.
    """
    text = read_gguf(text_path)
    found = [*_text_findings(text), *([_template_finding(text, checkpoint)] if checkpoint else [])]
    if projector_path is None:
        return [*found, Finding(False, "There is no projector: this is the text model alone, and it sees nothing")]
    projector = read_gguf(projector_path)
    apart = why_not_a_pair(text, projector)
    found.append(Finding(not apart, apart or f"The projector fits the text model ({text.hidden_size} values a token)"))
    return [*found, *_geometry_findings(projector, spec)]


def _text_findings(text: GgufFacts) -> list[Finding]:
    marks = ", ".join(repr(m) for m in text.missing_marks)
    return [
        Finding(
            not text.missing_marks,
            f"The vocabulary lacks {marks}: llama-server will refuse every picture"
            if marks
            else "The vocabulary has the marks that stand around pictures",
        ),
        Finding(
            text.eos_token == END_OF_UTTERANCE,
            f"Answers end at {text.eos_token or 'nothing'}"
            + ("" if text.eos_token == END_OF_UTTERANCE else f"; it should be {END_OF_UTTERANCE}"),
        ),
        Finding(
            not text.adds_bos,
            "A start token is added before the one of the template: it is doubled"
            if text.adds_bos
            else "No second start token is added",
        ),
    ]


def _template_finding(text: GgufFacts, checkpoint: Path) -> Finding:
    template = template_of(checkpoint)
    same = text.chat_template.strip() == template.strip()
    return Finding(
        same, "The chat template is the checkpoint's" if same else "The chat template is not the checkpoint's"
    )


def template_of(checkpoint: Path) -> str:
    """A checkpoint's chat template, "" where it has none."""
    jinja = checkpoint / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (checkpoint / name).exists() and (template := read_json(checkpoint, name).get("chat_template")):
            return str(template)
    return ""


def _geometry_findings(projector: GgufFacts, spec: ModelSpec) -> list[Finding]:
    wanted = spec.geometry
    pairs = [
        ("tile", projector.tile, wanted.tile, "px"),
        ("longest edge", projector.longest_edge, wanted.longest_edge, "px"),
        ("tokens of a tile", projector.tokens_per_tile, wanted.tokens_per_tile, ""),
    ]
    out = [
        Finding(projector.projector_type == "idefics3", f"The projector's type is {projector.projector_type or '?'}")
    ]
    for what, has, should, unit in pairs:
        told = f"Its {what}: {has} {unit}".rstrip()
        out.append(Finding(has == should, told + ("" if has == should else f"; the checkpoint's is {should}")))
    return out

"""What GGUF files and checkpoint folders show before anything runs. Nothing found is not proof that a model sees: asking is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.gguf import HEAVY, GgufFacts, find_projector, names_another_model, read_gguf, why_not_a_pair
from smolvlm_core.llamacpp.templates import template_findings
from smolvlm_core.models.catalog import from_folder
from smolvlm_core.models.config import MAX_JSON_BYTES, read_json
from smolvlm_core.prompt.template import END_OF_UTTERANCE, START
from smolvlm_core.reading import read_text

OWN_PROJECTOR = "Use the projector that was converted with this model."


def gguf_findings(path: Path) -> list[Finding]:
    facts = read_gguf(path)
    if facts.kind == "projector":
        return [
            Finding("error", f"{path.name} is a projector: it is not a model by itself", "Lint the text model's file.")
        ]
    return [*template_findings(facts.chat_template), *text_model_findings(facts), *_projector_beside(facts)]


def text_model_findings(facts: GgufFacts) -> Iterator[Finding]:
    """One finding for each thing a text model needs for its pictures, right ones too. Its template is looked at elsewhere."""
    again = "Convert the checkpoint again: `python -m smolvlm_core convert CHECKPOINT --out DIR`."
    if facts.missing_marks:
        marks = ", ".join(map(repr, facts.missing_marks))
        yield Finding("error", f"The vocabulary lacks {marks}: llama-server refuses every picture", again)
    else:
        yield Finding("ok", "The vocabulary has the tokens that surround pictures")
    if facts.eos_token == END_OF_UTTERANCE:
        yield Finding("ok", f"The stop token is {END_OF_UTTERANCE}")
    else:
        yield Finding("error", f"The stop token is {facts.eos_token or 'none'}, not {END_OF_UTTERANCE}", again)
    if facts.adds_bos and facts.chat_template.lstrip().startswith(START):
        yield Finding("error", f"{START} is added before the template's own: it is doubled", again)
    else:
        yield Finding("ok", "No second start token is added")
    if facts.quantization in HEAVY:
        heavy = f"{facts.quantization} is a heavy quantization for a small model"
        yield Finding("warning", heavy, "Check it, or use Q4_K_M or larger.")


def pair_finding(text: GgufFacts, projector: GgufFacts) -> Finding:
    """Whether a projector fits a text model."""
    if why := why_not_a_pair(text, projector):
        return Finding("error", why, OWN_PROJECTOR)
    if names_another_model(text, projector):
        return other_name_finding(text, projector)
    return Finding("ok", f"The projector fits the text model ({text.hidden_size} values a token)")


def _projector_beside(facts: GgufFacts) -> Iterator[Finding]:
    fitting = find_projector(facts)
    if fitting is not None:
        yield pair_finding(facts, read_gguf(fitting))
        return
    others = sorted(p for p in facts.path.parent.glob("*.gguf") if "mmproj" in p.name.lower())
    if not others:
        yield Finding(
            "error",
            f"There is no projector beside {facts.path.name}: served alone, it answers about pictures it never saw",
            "`python -m smolvlm_core convert CHECKPOINT` creates both files.",
        )
    for other in others:
        try:
            yield pair_finding(facts, read_gguf(other))
        except ModelError as error:
            yield Finding("error", str(error), OWN_PROJECTOR)


def other_name_finding(text: GgufFacts, projector: GgufFacts) -> Finding:
    return Finding(
        "warning",
        f"{projector.path.name} names another model ({projector.name!r}) than {text.path.name} ({text.name!r})",
        f"Use the projector that was converted with this model, or check it: `python -m smolvlm_core check --backend {text.path}`.",
    )


def checkpoint_findings(folder: Path) -> list[Finding]:
    from_folder(folder)  # raises where it is not one
    found = list(template_findings(template_of(folder)))
    found += _stop_of_checkpoint(folder)
    config = read_json(folder, "config.json")
    if not (config.get("text_config") or {}).get("architectures"):
        found.append(
            Finding(
                "warning",
                "config.json names no text architecture: llama.cpp's converter refuses it",
                "`python -m smolvlm_core convert` repairs that in a copy.",
            )
        )
    return found


def _stop_of_checkpoint(folder: Path) -> Iterator[Finding]:
    """The tokenizer's end of text, which llama.cpp's converter takes for the stop token."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return
    stop = read_json(folder, path.name).get("eos_token")
    stop = stop.get("content") if isinstance(stop, dict) else stop
    if stop != END_OF_UTTERANCE:
        yield Finding(
            "error",
            f"The stop token in {path.name} is {stop or 'none'}, not {END_OF_UTTERANCE}",
            f'Write "eos_token": "{END_OF_UTTERANCE}" there.',
        )


def template_of(checkpoint: Path) -> str:
    """A checkpoint's chat template, "" where it has none."""
    jinja = checkpoint / "chat_template.jinja"
    if jinja.exists():
        return read_text(jinja, ModelError, MAX_JSON_BYTES)
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (checkpoint / name).exists() and (template := read_json(checkpoint, name).get("chat_template")):
            return str(template)
    return ""

"""What is wrong with a deployment's files before anything is run: a Modelfile, GGUF files, a checkpoint folder.

Each finding has its line, where there is one, and the mend. A clean bill is no proof that a model sees: asking is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from smolvlm_core.errors import LensError, ModelError
from smolvlm_core.llamacpp.gguf import HEAVY, GgufFacts, find_projector, names_another_model, read_gguf, why_not_a_pair
from smolvlm_core.llamacpp.verify import template_of
from smolvlm_core.models.catalog import from_folder, read_json
from smolvlm_core.prompt.template import ASSISTANT_CUE, END_OF_UTTERANCE, IMAGE, START, turn_text

Level = Literal["error", "warning"]
CHATML_END = "<|im_end|>"
# Ollama's template language has no way to ask how a text begins: with pictures, no space after "User:", as in training.
# A clip's turn begins with text and should have one; that space is the difference that stays.
OLLAMA_TEMPLATE = (
    "<|im_start|>{{ range .Messages }}"
    '{{ if eq .Role "user" }}User:{{ if not .Images }} {{ end }}{{ else if eq .Role "system" }}System: '
    "{{ else }}Assistant: {{ end }}{{ .Content }}<end_of_utterance>\n"
    "{{ end }}Assistant:"
)
NUM_CTX = 8192
WRITE = "python -m smolvlm_core lint TEXT.gguf --write-modelfile TO"


@dataclass(frozen=True)
class Finding:
    """`line`: from 1, None where a whole file is meant."""

    level: Level
    what: str
    mend: str
    line: int | None = None


def lint(path: Path) -> list[Finding]:
    """Findings of a Modelfile, a .gguf file (with the projector beside it) or a checkpoint folder, worst first.

    Raises:
        ModelError: nothing there, or nothing of these kinds.
    """
    if path.is_dir():
        found = _checkpoint(path)
    elif path.suffix == ".gguf":
        found = _gguf(path)
    elif path.is_file():
        found = _modelfile(path)
    else:
        raise ModelError(f"There is nothing at {path}.", "Give a Modelfile, a .gguf file or a checkpoint folder.")
    return sorted(found, key=lambda f: (f.level != "error", f.line or 0))


# --- chat templates --------------------------------------------------------------------------------------------------


def template_findings(template: str, line: int | None = None) -> Iterator[Finding]:
    """A Jinja chat template, rendered for a short conversation and compared with SmolVLM2's own."""
    if not template.strip():
        yield Finding(
            "error", "There is no chat template", "Take chat_template.json of the published checkpoint.", line
        )
        return
    yield from _marks(template, line)
    wanted, made = reference(), rendered(template)
    if isinstance(made, LensError):
        yield Finding("error", f"The chat template cannot be rendered: {made}", made.hint, line)
    elif made != wanted:
        yield Finding(
            "error",
            f"The chat template gives another prompt than SmolVLM2's: {difference(made, wanted)}",
            "Take chat_template.json of the published checkpoint.",
            line,
        )


def reference() -> str:
    """The prompt that SmolVLM2 was trained on, of a picture with a question, an answer, and a second question."""
    turns = turn_text("user", f"{IMAGE}What is it?", image_first=True)
    turns += turn_text("assistant", "A dog.", image_first=False) + turn_text("user", "Sure?", image_first=False)
    return START + turns + ASSISTANT_CUE


def rendered(template: str) -> str | LensError:
    """The same conversation through a template. Sandboxed: a template comes from a stranger's file."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def text(said: str) -> dict[str, str]:
        return {"type": "text", "text": said}

    conversation = [
        {"role": "user", "content": [{"type": "image"}, text("What is it?")]},
        {"role": "assistant", "content": [text("A dog.")]},
        {"role": "user", "content": [text("Sure?")]},
    ]
    try:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        made = environment.from_string(template).render(
            messages=conversation, add_generation_prompt=True, bos_token=START, eos_token=END_OF_UTTERANCE
        )
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        return ModelError(f"{type(error).__name__}: {error}.", "It is damaged, or of another model.")
    return made


def difference(made: str, wanted: str) -> str:
    """Where two prompts part, token by token of the chat format."""
    pattern = re.compile(r"<[^<>\s]+>|\w+|\s|[^\w\s]")
    ours, theirs = pattern.findall(made), pattern.findall(wanted)
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    before = "".join(theirs[max(0, at - 4) : at])
    return f"after {before!r} comes {''.join(ours[at : at + 3])!r}, not {''.join(theirs[at : at + 3])!r}"


def _marks(text: str, line: int | None) -> Iterator[Finding]:
    for wrong in sorted(set(re.findall(r"</image>|</row_\w+>|</?img>", text))):
        yield Finding("error", f"{wrong} is no token of SmolVLM2: it is read as plain text", "Take it out.", line)
    if CHATML_END in text:
        yield Finding(
            "error",
            f"{CHATML_END} ends the turns, as in ChatML; SmolVLM2's end with {END_OF_UTTERANCE}",
            f"Write {END_OF_UTTERANCE}, and one {START} at the start of the prompt only.",
            line,
        )
    elif text.count(START) > 1:
        yield Finding(
            "error", f"{START} stands {text.count(START)} times: one belongs, at the start", "Keep one.", line
        )
    if END_OF_UTTERANCE not in text:
        yield Finding("error", f"{END_OF_UTTERANCE} is missing: answers will not end", f"End each turn with {END_OF_UTTERANCE}.", line)  # fmt: skip


# --- GGUF files and checkpoints --------------------------------------------------------------------------------------


def _gguf(path: Path) -> list[Finding]:
    facts = read_gguf(path)
    if facts.kind == "projector":
        return [Finding("error", f"{path.name} is a projector: alone it is no model", "Lint the text model's file.")]
    return [*template_findings(facts.chat_template), *text_model_findings(facts), *_projector_beside(facts)]


def text_model_findings(facts: GgufFacts) -> Iterator[Finding]:
    """What keeps a text model from its pictures, its template apart."""
    again = "Convert the checkpoint again: `python -m smolvlm_core convert CHECKPOINT --out DIR`."
    if facts.missing_marks:
        marks = ", ".join(map(repr, facts.missing_marks))
        yield Finding("error", f"The vocabulary lacks {marks}: llama-server refuses every picture", again)
    if facts.eos_token != END_OF_UTTERANCE:
        yield Finding("error", f"The stop token is {facts.eos_token or 'none'}, not {END_OF_UTTERANCE}", again)
    if facts.adds_bos and facts.chat_template.lstrip().startswith(START):
        yield Finding("error", f"{START} is added before the template's own: it is doubled", again)
    if facts.quantization in HEAVY:
        yield Finding(
            "warning", f"{facts.quantization} is heavy for a small model", "Check it, or take Q4_K_M or larger."
        )


def _projector_beside(facts: GgufFacts) -> Iterator[Finding]:
    found = find_projector(facts)
    if found is not None:
        projector = read_gguf(found)
        if names_another_model(facts, projector):
            yield _another_name(facts, projector)
        return
    others = sorted(p for p in facts.path.parent.glob("*.gguf") if "mmproj" in p.name.lower())
    if not others:
        yield Finding(
            "error",
            f"No projector lies beside {facts.path.name}: served alone it answers about pictures it never saw",
            "`python -m smolvlm_core convert CHECKPOINT` makes both files.",
        )
    for other in others:
        try:
            why = why_not_a_pair(facts, read_gguf(other))
        except ModelError as error:
            why = str(error)
        yield Finding("error", why, "Take the projector that was converted with this model.")


def _another_name(text: GgufFacts, projector: GgufFacts) -> Finding:
    return Finding(
        "warning",
        f"{projector.path.name} names another model ({projector.name!r}) than {text.path.name} ({text.name!r})",
        f"Take the projector that was converted with this model, or check it: `python -m smolvlm_core check --backend {text.path}`.",
    )


def _checkpoint(folder: Path) -> list[Finding]:
    from_folder(folder)  # raises where it is none
    found = list(template_findings(template_of(folder)))
    found += _stop_of_checkpoint(folder)
    config = read_json(folder, "config.json")
    if not (config.get("text_config") or {}).get("architectures"):
        found.append(
            Finding(
                "warning",
                "config.json names no text architecture: llama.cpp's converter refuses it",
                "`python -m smolvlm_core convert` mends that in a copy.",
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


# --- Modelfiles ------------------------------------------------------------------------------------------------------


def _modelfile(path: Path) -> list[Finding]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read as text: {error}.", "Give a Modelfile.") from error
    commands = list(_commands(text))
    sources = [(line, value) for line, name, value in commands if name == "FROM"]
    if not sources:
        raise ModelError(f"{path.name} has no FROM line: it is no Modelfile.", "Give a Modelfile.")
    return [*_sources(path, sources), *_other_commands(commands)]


def _commands(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, command, value); a value in triple quotes goes over several lines."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        name, _, value = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if value.count('"""') == 1:
            for _, more in lines:
                value += f"\n{more}"
                if '"""' in more:
                    break
        value = value.strip()
        quotes = next((q for q in ('"""', '"') if value.startswith(q)), None)
        yield number, name.upper(), value.removeprefix(quotes).removesuffix(quotes) if quotes else value


def _sources(path: Path, sources: list[tuple[int, str]]) -> Iterator[Finding]:
    files = [(line, path.parent / Path(value).expanduser()) for line, value in sources if value.endswith(".gguf")]
    second = "Add a second FROM line with the projector's file (mmproj-….gguf)."
    if len(sources) == 1 and files:
        what = "One FROM line: the text model alone. It will answer about pictures that it never saw"
        yield Finding("error", what, second, files[0][0])
    known: list[tuple[int, GgufFacts]] = []
    for line, file in files:
        try:
            known.append((line, read_gguf(file)))
        except ModelError as error:
            yield Finding("error", str(error), "Correct the path.", line)
    texts = [(line, facts) for line, facts in known if facts.kind == "text"]
    for line, _ in texts[1:]:
        yield Finding("error", "A second text model: a model has one, and a projector", second, line)
    for line, facts in texts[:1]:
        yield from (replace(finding, line=line) for finding in text_model_findings(facts))
    for line, facts in known:
        if facts.kind != "projector" or not texts:
            continue
        if why := why_not_a_pair(texts[0][1], facts):
            yield Finding("error", why, "Take the projector that was converted with this model.", line)
        elif names_another_model(texts[0][1], facts):
            yield replace(_another_name(texts[0][1], facts), line=line)


def _other_commands(commands: list[tuple[int, str, str]]) -> Iterator[Finding]:
    parameters: dict[str, list[tuple[int, str]]] = {}
    for line, name, value in commands:
        if name == "ADAPTER":
            mend = "Write a second FROM line in its place."
            yield Finding("error", "ADAPTER is for LoRA: a projector given so is not used", mend, line)
        elif name == "TEMPLATE":
            yield from ollama_template_findings(value, line)
        elif name == "PARAMETER":
            key, _, given = value.partition(" ")
            parameters.setdefault(key, []).append((line, given.strip().strip('"')))
    stops = parameters.get("stop", [])
    if END_OF_UTTERANCE not in [stop for _, stop in stops]:
        for line, stop in stops:
            yield Finding(
                "error", f"The stop is {stop!r}, not {END_OF_UTTERANCE}", f"PARAMETER stop {END_OF_UTTERANCE}", line
            )
    if "num_ctx" not in parameters:
        yield Finding(
            "warning",
            "num_ctx is not set: with Ollama's default of 4k tokens on small cards a picture and its answer hardly fit",
            f"PARAMETER num_ctx {NUM_CTX}",
        )
    if not any(name == "TEMPLATE" for _, name, _ in commands):
        mend = f"Write one: `{WRITE}`."
        yield Finding("warning", "No TEMPLATE: Ollama guesses one from the GGUF's", mend)


def ollama_template_findings(template: str, line: int | None = None) -> Iterator[Finding]:
    """Of a Modelfile's TEMPLATE, in Ollama's template language."""
    marks = list(_marks(template, line))
    yield from marks
    if not marks and template.split() != OLLAMA_TEMPLATE.split():
        yield Finding(
            "warning",
            f"The template is not the one that is known to be right: {difference(template, OLLAMA_TEMPLATE)}",
            f"`{WRITE}` writes it.",
            line,
        )


def write_modelfile(text: Path, projector: Path, to: Path) -> None:
    """A Modelfile that is right for a pair of GGUF files. Raises ModelError where they are no pair, or it exists."""
    if why := why_not_a_pair(read_gguf(text), read_gguf(projector)):
        raise ModelError(f"{why}.", "Give a text model and its own projector.")
    if to.exists():
        raise ModelError(f"{to} is there already.", "Remove it first, or name another.")
    lines = [f"FROM {text.resolve()}", f"FROM {projector.resolve()}", f'TEMPLATE """{OLLAMA_TEMPLATE}"""']
    lines += [f'PARAMETER stop "{END_OF_UTTERANCE}"', f"PARAMETER num_ctx {NUM_CTX}", "PARAMETER temperature 0"]
    to.write_text("\n".join([*lines, ""]), encoding="utf-8")

"""Ollama's Modelfiles: what makes a model blind there, and writing a right one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.gguf import GgufFacts, read_gguf, why_not_a_pair
from smolvlm_core.llamacpp.gguf_lint import pair_finding, text_model_findings
from smolvlm_core.llamacpp.templates import difference, token_findings
from smolvlm_core.prompt.template import END_OF_UTTERANCE
from smolvlm_core.reading import read_text

# Ollama's template language cannot ask how a text begins: with pictures, no space after "User:", as in training.
# A clip's turn begins with text and should have one; that space is the difference that stays.
OLLAMA_TEMPLATE = (
    "<|im_start|>{{ range .Messages }}"
    '{{ if eq .Role "user" }}User:{{ if not .Images }} {{ end }}{{ else if eq .Role "system" }}System: '
    "{{ else }}Assistant: {{ end }}{{ .Content }}<end_of_utterance>\n"
    "{{ end }}Assistant:"
)
NUM_CTX = 8192
MAX_MODELFILE_BYTES = 2**20
WRITE = "python -m smolvlm_core lint TEXT.gguf --write-modelfile TO"


def modelfile_findings(path: Path) -> list[Finding]:
    text = read_text(path, ModelError, MAX_MODELFILE_BYTES)
    commands = list(_commands(text))
    sources = [(line, value) for line, name, value in commands if name == "FROM"]
    if not sources:
        raise ModelError(f"{path.name} has no FROM line: it is not a Modelfile.", "Give a Modelfile.")
    return [*_sources(path, sources), *_other_commands(commands)]


def _commands(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, command, value); a value in triple quotes spans several lines."""
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
        what = "One FROM line: the text model alone. It would answer about pictures it never saw"
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
        if facts.kind == "projector" and texts:
            yield replace(pair_finding(texts[0][1], facts), line=line)


def _other_commands(commands: list[tuple[int, str, str]]) -> Iterator[Finding]:
    parameters: dict[str, list[tuple[int, str]]] = {}
    for line, name, value in commands:
        if name == "ADAPTER":
            fix = "Write a second FROM line instead."
            yield Finding("error", "ADAPTER is for LoRA: a projector given this way is not used", fix, line)
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
            "num_ctx is not set: with Ollama's default of 4k tokens on small cards a picture and its answer barely fit",
            f"PARAMETER num_ctx {NUM_CTX}",
        )
    if not any(name == "TEMPLATE" for _, name, _ in commands):
        fix = f"Write one: `{WRITE}`."
        yield Finding("warning", "No TEMPLATE: Ollama guesses one from the GGUF's", fix)


def ollama_template_findings(template: str, line: int | None = None) -> Iterator[Finding]:
    """Of a Modelfile's TEMPLATE, in Ollama's template language."""
    marks = list(token_findings(template, line))
    yield from marks
    if not marks and template.split() != OLLAMA_TEMPLATE.split():
        yield Finding(
            "warning",
            f"The template differs from the one known to work: {difference(template, OLLAMA_TEMPLATE)}",
            f"`{WRITE}` writes it.",
            line,
        )


def write_modelfile(text: Path, projector: Path, to: Path) -> None:
    """Write a Modelfile for a pair of GGUF files. Raises ModelError where they do not fit, or `to` exists."""
    if why := why_not_a_pair(read_gguf(text), read_gguf(projector)):
        raise ModelError(f"{why}.", "Give a text model and its own projector.")
    if to.exists():
        raise ModelError(f"{to} exists already.", "Remove it first, or name another.")
    lines = [f"FROM {text.resolve()}", f"FROM {projector.resolve()}", f'TEMPLATE """{OLLAMA_TEMPLATE}"""']
    lines += [f'PARAMETER stop "{END_OF_UTTERANCE}"', f"PARAMETER num_ctx {NUM_CTX}", "PARAMETER temperature 0"]
    to.write_text("\n".join([*lines, ""]), encoding="utf-8")

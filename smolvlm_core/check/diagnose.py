"""Why a backend may not see: what can be read beside it, and the mend as a command to copy.

Read only after the questions have said that it does not see. What is found is likely, never proved: metadata can be right
where a model is blind and wrong where it sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend, LlamaServerBackend, server_properties
from smolvlm_core.backends.remote.ollama import OllamaBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend, authorization
from smolvlm_core.backends.remote.stream import certificates
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.gguf import HEAVY, names_another_model, read_gguf
from smolvlm_core.llamacpp.lint import difference, ollama_template_findings, reference, text_model_findings
from smolvlm_core.llamacpp.programs import build_number, older_than_the_fix
from smolvlm_core.models.catalog import BUNDLED
from smolvlm_core.prompt.template import END_OF_UTTERANCE, IMAGE, START

Cause = tuple[str, str]
SERVE = "python -m smolvlm_core serve CHECKPOINT"
ELSEWHERE = f"Compare with the checkpoint itself: `python -m smolvlm_core check --backend CHECKPOINT`. Then `{SERVE}`."
CONVERT = "python -m smolvlm_core convert CHECKPOINT --out DIR"
READS_FROM_PARAMETERS = 100_000_000  # every published SmolVLM2 does; what the bundled one, of 7 million, does not learn
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)


def reads(backend: Backend) -> bool:
    """Whether a model of this kind should read digits and words. By its size, or by its name where it runs elsewhere."""
    if isinstance(backend, TransformersBackend | LlamaCppBackend):
        return backend.spec.parameters >= READS_FROM_PARAMETERS
    told = f"{backend.name} {backend.revision}"
    if isinstance(backend, OpenAIBackend):
        told += backend.model_served()
    return BUNDLED not in told.lower()


def why_not_all(backend: Backend, unseen: Sequence[str]) -> Cause:
    """Of a backend that sees shapes, but not clips, or not text: the deployment is whole."""
    if list(unseen) == ["clips"]:
        if isinstance(backend, LlamaCppBackend | LlamaServerBackend):
            return (
                "llama-server adds an overview to each frame of a clip, which SmolVLM2 was not trained on.",
                "For clips, use the checkpoint with transformers.",
            )
        if isinstance(backend, OpenAIBackend | OllamaBackend):
            return (
                "Likely: the server cuts each frame of a clip like a picture, which SmolVLM2 was not trained on.",
                "For clips, use the checkpoint with transformers, or its GGUF files as a llama.cpp backend of this app.",
            )
    return "This model may not be good at it.", "Try a larger model, or more frames, or fewer."


def likely_cause(backend: Backend, *, blind: bool = True) -> Cause:
    """(cause, mend) of one that does not see; where nothing can be read, that."""
    found: list[Cause] = []
    try:
        for cause in _beside(backend, blind):
            found.append(cause)
    except LensError:
        pass  # what was found before stays
    if not found:
        return ("Nothing that can be read beside it tells why.", ELSEWHERE)
    others = "".join(f" Also: {cause}" for cause, _ in found[1:])
    return f"Likely: {found[0][0]}{others}", found[0][1]


def _beside(backend: Backend, blind: bool) -> Iterator[Cause]:
    if isinstance(backend, LlamaCppBackend):
        yield from _of_files(backend)
    elif isinstance(backend, LlamaServerBackend):
        yield from _of_llama_server(server_properties(backend.url, backend.api_key))
    elif isinstance(backend, OpenAIBackend):
        yield from _of_api(backend)
    elif isinstance(backend, OllamaBackend):
        yield from _of_ollama(backend)
    elif isinstance(backend, TransformersBackend) and blind:
        local = backend.spec.folder is not None
        yield (
            "the weights of its vision encoder or projector are damaged, or of another checkpoint: transformers gave "
            "them the right prompt.",
            "Download the checkpoint again"
            + ("." if local else f": `hf download {backend.spec.repo_id} --force-download`"),
        )


def _of_files(backend: LlamaCppBackend) -> Iterator[Cause]:
    text = read_gguf(backend.options.text)
    if backend.options.projector is not None:
        projector = read_gguf(backend.options.projector)
        if names_another_model(text, projector):
            yield (
                f"the projector is of another model: it names {projector.name!r}, the text model {text.name!r}.",
                f"`{CONVERT}` makes both of one checkpoint.",
            )
        if projector.quantization in HEAVY:
            yield _heavy(f"the projector ({projector.quantization})")
    for finding in text_model_findings(text):
        yield f"{finding.what}.", finding.mend
    server = backend.handle.server
    if server is not None and older_than_the_fix(server.program.build):
        yield server.program.warning, "`brew upgrade llama.cpp`, or `pip install -U -r requirements-llamacpp.txt`"


def _heavy(what: str) -> Cause:
    return f"heavy quantization of {what}.", f"`{CONVERT} --quantize Q8_0`"


def _of_llama_server(props: dict[str, Any]) -> Iterator[Cause]:
    if (kind := _quantization_in(str(props.get("model_path", "")))) is not None:
        yield _heavy(f"the text model ({kind})")
    if older_than_the_fix(build := build_number(f"build {str(props.get('build_info', '')).removeprefix('b')}")):
        yield f"llama.cpp b{build} may be older than the last fix of how it cuts pictures.", "`brew upgrade llama.cpp`"


def _quantization_in(name: str) -> str | None:
    return next((kind for kind in HEAVY if re.search(rf"(?<![A-Za-z0-9]){kind}(?![A-Za-z0-9])", name)), None)


def _of_api(backend: OpenAIBackend) -> Iterator[Cause]:
    if (kind := _quantization_in(backend.model_served())) is not None:
        yield _heavy(f"the model ({kind})")
    try:
        props = server_properties(backend.url.removesuffix("/v1"), backend.api_key)
    except LensError:
        return  # another server: it tells no more
    yield from _of_its_template(backend, str(props["media_marker"]))
    yield from _of_llama_server(props)


def _of_its_template(backend: OpenAIBackend, mark: str) -> Iterator[Cause]:
    """llama-server tells what prompt its template makes of a conversation."""
    conversation = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}, _text("What is it?")]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "Sure?"},
    ]
    made = _asked(backend, "apply-template", {"messages": conversation}).get("prompt")
    if not isinstance(made, str):
        return
    if not _has_token(backend, END_OF_UTTERANCE):
        return  # another kind of model, with a template of its own
    # A space after "User:" is what the checkpoint's own template gives in llama-server; it costs little. A start token that
    # the tokenizer adds is taken off the template's (llama.cpp, common/chat.cpp).
    said, wanted = (
        text.replace("User: ", "User:").removeprefix(START) for text in (made.replace(mark, IMAGE), reference())
    )
    if said != wanted:
        what = "ChatML" if "<|im_end|>" in said else "not SmolVLM2's"
        yield f"the chat template is {what}: {difference(said, wanted)}.", f"`{SERVE}` starts it with the right one."


def _has_token(backend: OpenAIBackend, text: str) -> bool:
    told = _asked(backend, "tokenize", {"content": text, "add_special": False, "parse_special": True})
    return len(told.get("tokens") or []) == 1


def _text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def _asked(backend: OpenAIBackend, what: str, body: dict[str, Any]) -> dict[str, Any]:
    url = f"{backend.url.removesuffix('/v1')}/{what}"
    try:
        said = httpx.post(
            url, json=body, headers=authorization(backend.api_key), timeout=10, trust_env=False, verify=certificates()
        ).json()
    except (httpx.HTTPError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _of_ollama(backend: OllamaBackend) -> Iterator[Cause]:
    shown = backend.show()
    again = (
        f"`python -m smolvlm_core lint TEXT.gguf --write-modelfile Mended && ollama create {backend.model} -f Mended`"
    )
    if shown.capabilities is not None and "vision" not in shown.capabilities:
        yield "Ollama lists no vision: the model was imported without its projector.", again
    if "smolvlm" in backend.model.lower():  # others have templates of their own
        for finding in ollama_template_findings(shown.template or ""):
            yield f"{finding.what}.", again
    kind = shown.details.quantization_level if shown.details else None
    if kind in HEAVY:
        yield _heavy(f"the model ({kind})")

"""Likely causes of blindness that a llama-server reports about itself. Read only after the questions: metadata is never proof."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smolvlm_core.backends.base import Cause
from smolvlm_core.backends.gguf_causes import heavy_quantization, quantization_in
from smolvlm_core.backends.remote.http import authorization, json_of, whole_answer
from smolvlm_core.backends.remote.values import rows
from smolvlm_core.errors import BackendError
from smolvlm_core.llamacpp.programs import build_number, older_than_the_fix
from smolvlm_core.llamacpp.templates import difference, reference
from smolvlm_core.prompt.template import END_OF_UTTERANCE, IMAGE, START

SERVE = "python -m smolvlm_core serve --engine llama.cpp --model CHECKPOINT"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)


def causes_in_properties(props: dict[str, Any]) -> Iterator[Cause]:
    """`props`: its /props."""
    if (quantization := quantization_in(str(props.get("model_path", "")))) is not None:
        yield heavy_quantization(f"the text model ({quantization})")
    build = build_number(f"build {str(props.get('build_info', '')).removeprefix('b')}")
    if older_than_the_fix(build):
        yield Cause(
            f"llama.cpp b{build} may be older than the last fix of how it cuts pictures.", "`brew upgrade llama.cpp`"
        )


def causes_in_template(url: str, api_key: str, mark: str) -> Iterator[Cause]:
    """llama-server shows which prompt its chat template makes of a conversation. `mark` stands for a picture in it."""
    conversation = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}, _text("What is it?")]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "Sure?"},
    ]
    prompt = _post(f"{url}/apply-template", {"messages": conversation}, api_key).get("prompt")
    if not isinstance(prompt, str):
        return
    tokens = _post(
        f"{url}/tokenize", {"content": END_OF_UTTERANCE, "add_special": False, "parse_special": True}, api_key
    )
    if len(rows(tokens.get("tokens"))) != 1:
        return  # another kind of model, with a template of its own
    # A space after "User:" is what the checkpoint's own template gives in llama-server; it costs little. A start token that
    # the tokenizer adds is taken off the template's (llama.cpp, common/chat.cpp).
    said, wanted = (
        text.replace("User: ", "User:").removeprefix(START) for text in (prompt.replace(mark, IMAGE), reference())
    )
    if said != wanted:
        what = "ChatML" if "<|im_end|>" in said else "not SmolVLM2's"
        yield Cause(
            f"the chat template is {what}: {difference(said, wanted)}.", f"`{SERVE}` starts it with the right one."
        )


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _post(url: str, body: dict[str, Any], api_key: str) -> dict[str, Any]:
    try:
        return json_of(whole_answer("POST", url, authorization(api_key), body)) or {}
    except BackendError:
        return {}

"""Chat templates: rendered for a short conversation and compared with SmolVLM2's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.render import rendered
from smolvlm_core.prompt.template import ASSISTANT_CUE, END_OF_UTTERANCE, IMAGE, START, turn_text

CHATML_END = "<|im_end|>"
PUBLISHED = "Take chat_template.json from the published checkpoint."


def template_findings(template: str, line: int | None = None) -> Iterator[Finding]:
    """What is wrong with a Jinja chat template."""
    if not template.strip():
        yield Finding("error", "There is no chat template", PUBLISHED, line)
        return
    yield from token_findings(template, line)
    wanted, made = reference(), rendered(template, conversation())
    if isinstance(made, LensError):
        yield Finding("error", f"The chat template cannot be rendered: {made.args[0].rstrip('.')}", made.hint, line)
    elif made != wanted:
        yield Finding(
            "error",
            f"The chat template gives another prompt than SmolVLM2's: {difference(made, wanted)}",
            PUBLISHED,
            line,
        )


def reference() -> str:
    """The prompt that SmolVLM2 was trained on, for a picture with a question, an answer, and a second question."""
    turns = turn_text("user", f"{IMAGE}What is it?", image_first=True)
    turns += turn_text("assistant", "A dog.", image_first=False) + turn_text("user", "Sure?", image_first=False)
    return START + turns + ASSISTANT_CUE


def conversation() -> dict[str, Any]:
    """The same conversation, as a template takes it."""

    def text(said: str) -> dict[str, str]:
        return {"type": "text", "text": said}

    turns = [
        {"role": "user", "content": [{"type": "image"}, text("What is it?")]},
        {"role": "assistant", "content": [text("A dog.")]},
        {"role": "user", "content": [text("Sure?")]},
    ]
    return {"messages": turns, "add_generation_prompt": True, "bos_token": START, "eos_token": END_OF_UTTERANCE}


def difference(made: str, wanted: str) -> str:
    """Where two prompts first differ, token by token of the chat format."""
    pattern = re.compile(r"<[^<>\s]+>|\w+|\s|[^\w\s]")
    ours, theirs = pattern.findall(made), pattern.findall(wanted)
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    before = "".join(theirs[max(0, at - 4) : at])
    return f"after {before!r} comes {''.join(ours[at : at + 3])!r}, not {''.join(theirs[at : at + 3])!r}"


def token_findings(text: str, line: int | None) -> Iterator[Finding]:
    for wrong in sorted(set(re.findall(r"</image>|</row_\w+>|</?img>", text))):
        yield Finding("error", f"{wrong} is not a token of SmolVLM2: it is read as plain text", "Remove it.", line)
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

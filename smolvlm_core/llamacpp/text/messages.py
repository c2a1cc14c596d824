"""What the two processes tell each other. Plain data, pickled over pipes between a process and its own child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.logprobs import Likely

EndReason = Literal["end", "length", "context", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text model runs.

    Attributes:
        text: path of the GGUF.
        context_tokens: the longest conversation.
        cells: places in the key-value cache, which all conversations share.
        parallel: answers at once.
        kept_bytes: of conversations that are kept outside the cache.
    """

    text: str
    context_tokens: int
    cells: int
    parallel: int
    threads: int
    kept_bytes: int


@dataclass(frozen=True, kw_only=True)
class Open:
    """Reserve a sequence for a prompt. `ids`: (L) tokens. `identity`: (L) what stands at each place, as 64-bit numbers.

    `fresh`: reuse nothing that was read before.
    """

    request: int
    ids: list[int]
    identity: list[int]
    max_new_tokens: int
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class Start:
    """Read the rest of the prompt and answer. `embeddings`: (L - reused, hidden) float32. `ends`: tokens that end an answer."""

    request: int
    embeddings: np.ndarray
    ends: tuple[int, ...]
    settings: GenerationSettings


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """End a request, whether it waits, reads or answers. An `Ended` follows, unless it has ended already."""

    request: int


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The model is loaded. `version`: of llama-cpp-python."""

    version: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    request: int
    ahead: int


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The first `reused` places of the prompt are in the key-value cache already."""

    request: int
    reused: int


@dataclass(frozen=True, kw_only=True)
class Read:
    request: int
    places: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Token:
    """`logprob`, `likely`: see `prompt.logprobs`, where they were asked for."""

    request: int
    token: int
    logprob: float = 0.0
    likely: tuple[Likely, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """`problem`: why it failed, for people."""

    request: int
    reason: EndReason
    problem: str = ""


Request = Open | Start | Cancel
Answer = Ready | Waiting | Opened | Read | Token | Ended

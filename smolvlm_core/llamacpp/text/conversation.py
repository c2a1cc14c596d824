"""A conversation in the text model's cache, one that is kept outside, and a request with a place. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from smolvlm_core.llamacpp.text.messages import Open, Start
from smolvlm_core.llamacpp.text.sampling import Sampler


@dataclass(eq=False)
class Conversation:
    """One in the cache. `identity`: what stands at each of its places. `owner`: whose first `shared` places it uses."""

    number: int
    identity: list[int] = field(default_factory=list)
    owner: Conversation | None = None
    shared: int = 0
    last_used: int = 0
    request: Running | None = None

    @property
    def cells(self) -> int:
        return len(self.identity) - self.shared


@dataclass(eq=False)
class Running:
    """A request with a place in the cache. `read`: how many of its embeddings are in. `new`: its answer so far."""

    opened: Open
    conversation: Conversation
    reused: int
    start: Start | None = None
    sampler: Sampler | None = None
    read: int = 0
    new: list[int] = field(default_factory=list)

    @property
    def reserved(self) -> int:
        """Cells that it may still need."""
        return len(self.opened.ids) + self.opened.max_new_tokens - len(self.conversation.identity)


@dataclass(eq=False)
class Kept:
    """A conversation outside the cache."""

    identity: list[int]
    state: bytes
    last_used: int

"""The key-value cache of the last answer, and how much of a new prompt it already holds. Knows tokens; not pictures or queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smolvlm_core.models.load import LoadedModel
from smolvlm_core.work.pool import Handle


@dataclass
class PrefixCache:
    """`identity`: (L) what stands at each place of `cache`: token ids, and for image tokens which picture they are of."""

    cache: Any = None
    identity: list[object] = field(default_factory=list)

    def cut_to(self, length: int, text_config: Any) -> None:
        """Keep the first `length` places; a new, empty cache where there are none to keep."""
        from transformers import DynamicCache

        if length == 0:
            self.cache = DynamicCache(config=text_config)
        elif (surplus := self.cache.get_seq_length() - length) > 0:
            self.cache.crop(-surplus)


def cache_of(handle: Handle[LoadedModel]) -> PrefixCache:
    if not isinstance(handle.cache, PrefixCache):
        handle.cache = PrefixCache()
    return handle.cache


def common_prefix(a: Sequence[object], b: Sequence[object]) -> int:
    """How many places two prompts share from their start."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))

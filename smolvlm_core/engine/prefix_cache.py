"""Key-value caches of several conversations within a budget of bytes, and how much of a new prompt they already hold.

Knows tokens; not pictures or queues. Touched on the model's worker thread only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smolvlm_core.prompt.prefix import common_prefix

MIN_SHARED_TOKENS = 64  # of a prefix that is worth copying from another conversation's cache
CACHE_BYTES = 2**30  # of all conversations of one model; one full context is kept even where it is larger


@dataclass
class PrefixCache:
    """`identity`: (L) what stands at each place of `cache`: token ids, and for image tokens which picture they are of."""

    cache: Any = None
    identity: list[object] = field(default_factory=list)
    last_used: int = 0

    def cut_to(self, length: int) -> None:
        """Keep the first `length` places."""
        if (surplus := self.cache.get_seq_length() - length) > 0:
            self.cache.crop(-surplus)
        self.identity = self.identity[:length]

    @property
    def nbytes(self) -> int:
        layers = [layer for layer in self.cache.layers if layer.is_initialized]
        return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in layers)


class PrefixCaches:
    """The caches of one model. The least recently used ones go first."""

    def __init__(self, text_config: Any, max_bytes: int = CACHE_BYTES) -> None:
        self._config, self.max_bytes = text_config, max_bytes
        self._kept: list[PrefixCache] = []
        self._uses = itertools.count(1)

    def open(self, identity: Sequence[object], most: int, *, fresh: bool = False) -> PrefixCache:
        """The cache for a prompt, cut to what it shares with it, at most `most` places. `fresh`: a new, empty one.

        Where another conversation shares only its start, that start is copied and the conversation's own cache stays.
        """
        known = [] if fresh else self._kept
        best = max(known, key=lambda kept: common_prefix(kept.identity, identity), default=None)
        shared = min(common_prefix(best.identity, identity), most) if best is not None else 0
        if best is not None and shared >= min(len(best.identity), most):
            chosen = best  # nothing of it is lost, or only what this prompt reads again
            chosen.cut_to(shared)
        else:
            chosen = PrefixCache(self._empty())
            if best is not None and shared >= MIN_SHARED_TOKENS:
                self._copy(best, shared, chosen)
            self._kept.append(chosen)
        chosen.last_used = next(self._uses)
        return chosen

    def trim(self) -> None:
        """Drop the least recently used caches that exceed the budget; the last one used stays."""
        self._kept.sort(key=lambda kept: kept.last_used)
        while len(self._kept) > 1 and self.nbytes > self.max_bytes:
            del self._kept[0]

    def drop(self, cache: PrefixCache) -> None:
        self._kept = [kept for kept in self._kept if kept is not cache]

    def clear(self) -> None:
        self._kept.clear()

    @property
    def nbytes(self) -> int:
        return sum(kept.nbytes for kept in self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def _empty(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self._config)

    def _copy(self, source: PrefixCache, length: int, target: PrefixCache) -> None:
        for i, layer in enumerate(source.cache.layers):
            target.cache.update(layer.keys[:, :, :length].clone(), layer.values[:, :, :length].clone(), i)
        target.identity = source.identity[:length]

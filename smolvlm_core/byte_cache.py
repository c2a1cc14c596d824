"""A cache bounded by the bytes of what it holds. Used from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache

V = TypeVar("V")


class ByteCache(Generic[V]):
    """The least recently used values go first. A value larger than the whole budget is not kept."""

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self.max_bytes, self._size_of = max_bytes, size_of
        self._values: LRUCache[Hashable, V] = LRUCache(max_bytes, getsizeof=size_of)
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made where it is not there. Two threads may make the same value at once."""
        if (value := self.peek(key)) is not None:
            return value
        value = make()
        self.put(key, value)
        return value

    def peek(self, key: Hashable) -> V | None:
        """The value of `key`, which counts as a use; None where it is not there."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: V) -> None:
        with self._lock:
            if self._size_of(value) <= self.max_bytes:
                self._values[key] = value

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    @property
    def held_bytes(self) -> int:
        with self._lock:
            return int(self._values.currsize)

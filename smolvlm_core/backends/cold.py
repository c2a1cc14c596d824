"""Backends that can leave their own caches aside for an answer."""

from __future__ import annotations

import copy
from typing import Self

from smolvlm_core.backends.base import Backend


class HasCaches(Backend):
    """`_cold`: whether this one uses nothing that earlier answers left in caches."""

    _cold = False

    def cold(self) -> Self:
        other = copy.copy(self)
        other._cold = True
        return other

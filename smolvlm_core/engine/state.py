"""What the engine keeps beside a loaded model, and what all models of a process share. Knows what is kept, not how it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smolvlm_core.engine.prefix_cache import PrefixCaches
from smolvlm_core.engine.vision.choice import AUTOMATIC, Choice, choose, offered, remembered, want, wanted
from smolvlm_core.engine.vision.encoder import VisionEncoder
from smolvlm_core.engine.vision.features import FeatureCache
from smolvlm_core.engine.vision.tiles import TileEncoder
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.work.pool import Handle, Pool
from smolvlm_core.work.report import Report

if TYPE_CHECKING:
    import torch


@dataclass
class EngineState:
    """`tiles` and `choice` are None until the first picture."""

    prefixes: PrefixCaches
    tiles: TileEncoder | None = None
    choice: Choice | None = None

    def encoder(self, loaded: LoadedModel, features: FeatureCache, report: Report) -> TileEncoder:
        """The encoder of this model. Encoders are tried with the first tile that is not in the cache."""

        def make(sample: Sequence[torch.Tensor]) -> VisionEncoder:
            encoder, self.choice = choose(loaded, sample, report)
            return encoder

        if self.tiles is None:
            self.choice = remembered(loaded)
            self.tiles = TileEncoder(self.choice.name if self.choice else "", make, features, loaded)
        return self.tiles


def state_of(handle: Handle[Any], loaded: LoadedModel) -> EngineState:
    """The state that goes with what the handle has loaded. Call on the worker thread only."""
    if not isinstance(handle.cache, EngineState):
        handle.cache = EngineState(PrefixCaches(loaded.model.config.get_text_config()))
    return handle.cache


def features_of(pool: Pool) -> FeatureCache:
    """The one feature cache of a process."""
    return pool.shared("features", FeatureCache)


def describe_encoder(handle: Handle[Any]) -> str:
    """Which vision encoder runs and what was tried, in one line; "" before the first picture."""
    state = handle.cache
    return state.choice.describe() if isinstance(state, EngineState) and state.choice is not None else ""


class EncoderChoice:
    """The choice of a loaded model's vision encoder, from any thread."""

    def __init__(self, handle: Handle[Any], loaded: LoadedModel) -> None:
        self._handle, self._loaded = handle, loaded

    def names(self) -> tuple[str, ...]:
        """Empty where torch is the only one."""
        names = offered(self._loaded)
        return (AUTOMATIC, *names) if len(names) > 1 else ()

    @property
    def wanted(self) -> str:
        return wanted(self._loaded)

    def want(self, name: str) -> None:
        """Raises StoreError."""
        want(self._loaded, name)
        with contextlib.suppress(RuntimeError):  # released meanwhile
            self._handle.worker.submit(self._forget)

    def _forget(self) -> None:
        if isinstance(state := self._handle.cache, EngineState):
            state.tiles = state.choice = None

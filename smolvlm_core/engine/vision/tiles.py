"""Features of a prompt's tiles: from the cache where they were encoded before, else from the encoder. Does not know queues."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from smolvlm_core.engine.encoding import PictureTiles
from smolvlm_core.engine.vision.encoder import TILES_AT_ONCE, VisionEncoder
from smolvlm_core.engine.vision.features import FeatureCache, tile_key
from smolvlm_core.models.load import LoadedModel

if TYPE_CHECKING:
    import torch

# Gets (3, H, W) tiles to try encoders on.
MakeEncoder = Callable[[Sequence["torch.Tensor"]], VisionEncoder]
Located = tuple[int, PictureTiles, int]  # place of its first token, its picture, its number in the picture


class TileEncoder:
    """Encodes tiles, each once. The encoder is made when the first tile is not in the cache.

    `found`: how many tiles were in the cache so far. `preparing_seconds`: of making the encoder.
    """

    def __init__(self, name: str, make: MakeEncoder, cache: FeatureCache, loaded: LoadedModel) -> None:
        self.name, self._make, self._cache = name, make, cache
        self._weights_key, self._at_once = loaded.weights_key, TILES_AT_ONCE.get(loaded.device, 1)
        self._encoder: VisionEncoder | None = None
        self.found = 0
        self.preparing_seconds = 0.0

    def encode(
        self, tiles: Sequence[Located], before_group: Callable[[int, int], None], *, fresh: bool = False
    ) -> list[tuple[int, torch.Tensor]]:
        """(place of its first token, (tokens per tile, hidden) features) of each tile.

        `before_group` gets the number of tiles done so far and of all; what it raises stops the work. `fresh`: the cache is
        not asked, but keeps what is encoded.
        """
        out: list[tuple[int, torch.Tensor]] = []
        for at in range(0, len(tiles), self._at_once):
            before_group(at, len(tiles))
            group = tiles[at : at + self._at_once]
            out += zip((start for start, _, _ in group), self._features(group, fresh))
            for _, picture, number in group:
                if number == len(picture) - 1:
                    picture.release()  # all of a long clip's pixels at once would be hundreds of megabytes
        return out

    def _features(self, group: Sequence[Located], fresh: bool) -> list[torch.Tensor]:
        import torch

        pixels = [picture.pixels[number] for _, picture, number in group]
        keys = [tile_key(one, f"{self._weights_key} {self.name}") for one in pixels]
        known = [None if fresh else self._cache.get(key) for key in keys]
        missing = [i for i, features in enumerate(known) if features is None]
        if missing and self._encoder is None:
            began = time.perf_counter()
            self._encoder = self._make(pixels)
            self.preparing_seconds += time.perf_counter() - began
            if self._encoder.name != self.name:  # the one that was remembered does not run any more
                self.name = self._encoder.name
                return self._features(group, fresh)
        self.found += len(group) - len(missing)
        if missing and self._encoder is not None:
            made = self._encoder.encode(torch.stack([pixels[i] for i in missing]))
            for i, features in zip(missing, made):
                self._cache.put(keys[i], features)
                known[i] = features
        return [features for features in known if features is not None]

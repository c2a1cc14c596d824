"""Picture tiles → features, in groups. Knows the model's vision part; not prompts or queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from smolvlm_core.engine.encoding import EncodedPrompt
from smolvlm_core.models.load import DEFAULT_DTYPE, LoadedModel

if TYPE_CHECKING:
    import torch

TILES_AT_ONCE = {"cpu": 1, "mps": 4, "cuda": 16}


def encode_tiles(
    loaded: LoadedModel,
    encoded: EncodedPrompt,
    wanted: Sequence[int],
    tokens_per_tile: int,
    before_group: Callable[[int, int], None],
) -> list[tuple[int, torch.Tensor]]:
    """(place of its first token, (tokens_per_tile, hidden) features) of each tile in `wanted`.

    `before_group` gets the number of tiles encoded so far and of all; what it raises stops the work.
    """
    step = TILES_AT_ONCE.get(loaded.device, 1)
    out: list[tuple[int, torch.Tensor]] = []
    for at in range(0, len(wanted), step):
        before_group(at, len(wanted))
        group = list(wanted[at : at + step])
        assert encoded.tiles is not None
        pixels = encoded.tiles[group].unsqueeze(0).to(loaded.model.device)
        with DEFAULT_DTYPE:
            features = loaded.model.model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        flat = features[0] if isinstance(features, list | tuple) else features
        tiles = flat.reshape(-1, tokens_per_tile, flat.shape[-1]).unbind(0)
        out += zip((encoded.tile_starts[i] for i in group), tiles)
    return out

"""How a model cuts pictures into tiles, and what pictures and text cost in tokens. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.template import IMAGE as IMAGE_SLOT


@dataclass(frozen=True)
class VisionGeometry:
    """How a model cuts pictures up: sizes in px, `tokens_per_tile` image tokens for each tile.

    `always_overview`: llama.cpp's way. Even a single tile comes with an overview, so a video frame is two tiles; and
    frames beside pictures are cut up as pictures are.
    """

    tile: int
    longest_edge: int
    tokens_per_tile: int
    always_overview: bool = False

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles of a picture, (0, 0) where it is a single tile.

        Follows transformers 5.23.0, models/smolvlm/image_processing_pil_smolvlm.py: the longer side becomes
        `longest_edge` (enlarged too), then both sides are rounded up to whole tiles.
        """
        longest = self.longest_edge
        if width >= height:
            w, h = longest, int(longest / (width / height))
            h += h % 2
        else:
            h, w = longest, int(longest * (width / height))
            w += w % 2
        w, h = max(w, 1), max(h, 1)
        if w >= h:
            columns = math.ceil(w / self.tile)
            rows = math.ceil(int(columns * self.tile / (w / h)) / self.tile)
        else:
            rows = math.ceil(h / self.tile)
            columns = math.ceil(int(rows * self.tile * (w / h)) / self.tile)
        return (rows, columns) if rows > 1 or columns > 1 else (0, 0)

    def image_tokens(self, slots: Sequence[Slot]) -> int:
        """Image tokens of the pictures of one prompt, without the marks around them."""
        cut_frames = self.always_overview and any(slot.tiled for slot in slots)
        return sum(self._tiles(slot, cut_frames) for slot in slots) * self.tokens_per_tile

    def _tiles(self, slot: Slot, cut_frames: bool) -> int:
        rows, columns = 0, 0
        if slot.tiled:
            rows, columns = self.grid(slot.width, slot.height)
        elif cut_frames:
            rows, columns = self.grid(self.tile, self.tile)
        return max(rows * columns, int(self.always_overview)) + 1


def estimate_tokens(prompt: Prompt, geometry: VisionGeometry) -> tuple[int, int]:
    """(image tokens, exact; text tokens and marks, estimated at 3.5 characters a token) without a tokenizer."""
    images = geometry.image_tokens(prompt.slots)
    tiles = images // geometry.tokens_per_tile
    marks = tiles * 2 + len(prompt.slots) * 3
    return images, marks + math.ceil(len(prompt.text.replace(IMAGE_SLOT, "")) / 3.5)

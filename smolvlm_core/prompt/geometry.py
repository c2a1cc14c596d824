"""How a model splits images into tiles, and how many tokens images and text cost. Pure: does not decode images or load models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.template import IMAGE as IMAGE_SLOT

CHARACTERS_PER_TOKEN = 3.5  # an estimate


@dataclass(frozen=True)
class VisionGeometry:
    """How a model splits images. `tile` and `longest_edge` are in px; each tile costs `tokens_per_tile` image tokens.

    `always_overview`: llama.cpp adds an overview even to a single tile, so a video frame costs two tiles. It also splits
    frames into tiles if the same prompt has images.
    """

    tile: int
    longest_edge: int
    tokens_per_tile: int
    always_overview: bool = False

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles for an image, or (0, 0) for a single tile.

        Source: transformers 5.23.0, models/smolvlm/image_processing_pil_smolvlm.py. The longer side is resized to
        `longest_edge`, even if that enlarges it. Then both sides are rounded up to a multiple of `tile`.
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
        """Image tokens of all images in one prompt, without the special tokens around them."""
        split_frames = self.always_overview and any(slot.tiled for slot in slots)
        return sum(self._tiles(slot, split_frames) for slot in slots) * self.tokens_per_tile

    def _tiles(self, slot: Slot, split_frames: bool) -> int:
        rows, columns = 0, 0
        if slot.tiled:
            rows, columns = self.grid(slot.width, slot.height)
        elif split_frames:
            rows, columns = self.grid(self.tile, self.tile)
        return max(rows * columns, int(self.always_overview)) + 1


def estimate_tokens(prompt: Prompt, geometry: VisionGeometry) -> tuple[int, int]:
    """Count (image tokens, text tokens) without a tokenizer.

    Image tokens are exact. Text tokens include special tokens and are estimated at 3.5 characters per token.
    """
    images = geometry.image_tokens(prompt.slots)
    tiles = images // geometry.tokens_per_tile
    marks = tiles * 2 + len(prompt.slots) * 3
    return images, marks + math.ceil(len(prompt.text.replace(IMAGE_SLOT, "")) / CHARACTERS_PER_TOKEN)

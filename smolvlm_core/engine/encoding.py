"""Prompt → tokens and tiles, exactly as SmolVLM's processor gives them. Does not run a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt, Slot
from smolvlm_core.prompt.template import FAKE_TOKEN, GLOBAL_TOKEN, IMAGE

if TYPE_CHECKING:
    import torch


class PictureTiles:
    """The tiles of one slot's picture. The picture is opened and cut when its pixels are first needed."""

    def __init__(self, slot: Slot, spec: ModelSpec, image_processor: Any) -> None:
        self._slot, self._tile, self._processor = slot, spec.geometry.tile, image_processor
        self.rows, self.columns = spec.geometry.grid(slot.width, slot.height) if slot.tiled else (0, 0)
        self._pixels: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.rows * self.columns + 1

    @property
    def pixels(self) -> torch.Tensor:
        """(n, 3, H, W), normalised. Kept until `release`."""
        if self._pixels is None:
            self._pixels = self._cut()
        return self._pixels

    def release(self) -> None:
        self._pixels = None

    def _cut(self) -> torch.Tensor:
        size = None if self._slot.tiled else {"longest_edge": self._tile}
        made = self._processor(
            images=[[self._slot.open()]],
            do_image_splitting=self._slot.tiled,
            return_row_col_info=True,
            return_tensors="pt",
            **({"size": size} if size else {}),
        )
        grid = made["rows"][0][0], made["cols"][0][0]
        if grid != (self.rows, self.columns):
            raise ValueError(f"{self._slot.label} has {grid} tiles; {self.rows, self.columns} were expected")
        return made["pixel_values"][0]  # type: ignore[no-any-return]

    def marks(self) -> list[tuple[object, ...]]:
        """What each tile shows, without opening the picture."""
        slot = self._slot
        return [(slot.sha256, slot.width, slot.height, slot.tiled, i) for i in range(len(self))]


@dataclass
class EncodedPrompt:
    """`ids`: (L) tokens. `identity`: (L) what is at each place; image tokens name their picture."""

    ids: list[int]
    identity: list[object]
    pictures: list[PictureTiles]
    tile_starts: list[int]  # where in `ids` each tile's image tokens begin

    @property
    def image_tokens(self) -> int:
        return sum(not isinstance(item, int) for item in self.identity)

    @property
    def tiles(self) -> torch.Tensor | None:
        """(n, 3, H, W) pixels of all pictures; None without pictures."""
        import torch

        return torch.cat([picture.pixels for picture in self.pictures]) if self.pictures else None

    def located_tiles(self) -> Iterator[tuple[int, PictureTiles, int]]:
        """(place of its first token, its picture, its number in the picture) of each tile, in the order of the prompt."""
        places = ((picture, i) for picture in self.pictures for i in range(len(picture)))
        for start, (picture, i) in zip(self.tile_starts, places, strict=True):
            yield start, picture, i


def encode_prompt(prompt: Prompt, spec: ModelSpec, tokenizer: Any, image_processor: Any) -> EncodedPrompt:
    """Tokens and tiles of a prompt. Pictures are not opened yet.

    Follows transformers 5.23.0, models/smolvlm/processing_smolvlm.py.
    """
    from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

    tokens_per_tile = spec.geometry.tokens_per_tile
    pieces = prompt.text.split(IMAGE)
    pictures = [PictureTiles(slot, spec, image_processor) for slot in prompt.slots]
    text = pieces[0]
    for picture, rest in zip(pictures, pieces[1:], strict=True):
        rows, columns = picture.rows, picture.columns
        text += get_image_prompt_string(rows, columns, tokens_per_tile, FAKE_TOKEN, IMAGE, GLOBAL_TOKEN) + rest
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    marks = [mark for picture in pictures for mark in picture.marks()]
    identity, starts = _identify(ids, tokenizer.convert_tokens_to_ids(IMAGE), marks, tokens_per_tile)
    return EncodedPrompt(ids, identity, pictures, starts)


def _identify(
    ids: Sequence[int], image_id: int, marks: Sequence[object], tokens_per_tile: int
) -> tuple[list[object], list[int]]:
    identity: list[object] = list(ids)
    starts, place = [], 0
    for at, token in enumerate(ids):
        if token == image_id:
            tile, inside = divmod(place, tokens_per_tile)
            if inside == 0:
                starts.append(at)
            identity[at] = (marks[tile], inside)
            place += 1
    return identity, starts

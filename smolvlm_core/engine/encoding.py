"""Prompt → tokens and tiles, exactly as SmolVLM's processor gives them. Does not run a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.template import FAKE_TOKEN, GLOBAL_TOKEN, IMAGE

if TYPE_CHECKING:
    import torch


@dataclass
class EncodedPrompt:
    """`ids`: (L) tokens. `identity`: (L) what is at each place; image tokens name their picture. `tiles`: (n, 3, H, W)."""

    ids: list[int]
    identity: list[object]
    tiles: torch.Tensor | None
    tile_starts: list[int]  # where in `ids` each tile's image tokens begin

    @property
    def image_tokens(self) -> int:
        return sum(not isinstance(item, int) for item in self.identity)


def encode_prompt(prompt: Prompt, spec: ModelSpec, tokenizer: Any, image_processor: Any) -> EncodedPrompt:
    """Tokens and tiles of a prompt.

    Follows transformers 5.23.0, models/smolvlm/processing_smolvlm.py.
    """
    import torch
    from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

    tokens_per_tile = spec.geometry.tokens_per_tile
    pieces = prompt.text.split(IMAGE)
    text, tiles, marks = pieces[0], [], []
    for slot, rest in zip(prompt.slots, pieces[1:], strict=True):
        size = None if slot.tiled else {"longest_edge": spec.geometry.tile}
        options = {"size": size} if size else {}
        made = image_processor(
            images=[[slot.open()]],
            do_image_splitting=slot.tiled,
            return_row_col_info=True,
            return_tensors="pt",
            **options,
        )
        rows, columns = made["rows"][0][0], made["cols"][0][0]
        text += get_image_prompt_string(rows, columns, tokens_per_tile, FAKE_TOKEN, IMAGE, GLOBAL_TOKEN) + rest
        tiles.append(made["pixel_values"][0])
        marks += [(slot.sha256, slot.tiled, i) for i in range(len(made["pixel_values"][0]))]
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return EncodedPrompt(
        ids,
        *_identify(
            ids, tokenizer.convert_tokens_to_ids(IMAGE), marks, tokens_per_tile, torch.cat(tiles) if tiles else None
        ),
    )


def _identify(
    ids: Sequence[int], image_id: int, marks: Sequence[object], tokens_per_tile: int, tiles: torch.Tensor | None
) -> tuple[list[object], torch.Tensor | None, list[int]]:
    identity: list[object] = list(ids)
    starts, place = [], 0
    for at, token in enumerate(ids):
        if token == image_id:
            tile, inside = divmod(place, tokens_per_tile)
            if inside == 0:
                starts.append(at)
            identity[at] = (marks[tile], inside)
            place += 1
    return identity, tiles, starts

"""How much memory one answer needs on top of the weights. Pure: knows sizes; not torch, prompts or devices' free memory.

The peak is the largest of four phases. With b bytes a number, T tiles, L prompt tokens, N new tokens:

| phase    | what is in memory                                                                                 |
|----------|---------------------------------------------------------------------------------------------------|
| pictures | the tiles of the largest picture in float32 while it is decoded, resized and cut; features so far |
| vision   | these tiles, all features, the activations of one group                                           |
| prefill  | all features, L embeddings, L places of cache, the activations of one piece                       |
| decode   | features that are kept, L + N places of cache, one layer's cache once more, one token's scores    |

Pictures are cut one after another and released once they are encoded. Features stay in a cache in RAM, so on a CPU they are there
twice until the prefill ends.
Tiles stay in RAM. On a GPU they count only where they are in its memory: one group at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 2**20
PIXEL_BYTES = 12  # three float32 channels
# Pillow and numpy copies of the largest picture: of the decoded picture while it is converted; then of its tiles, while it is
# resized, cut and normalized, beside two of the decoded picture. Measured with 640 × 360 and 4000 × 3000 px.
CONVERSION_COPIES = 4.7
TILE_COPIES = 3.5
# Places of a key-value cache take more RAM than their size: it grows piece by piece and leaves gaps. Measured.
CPU_CACHE_GAPS = 1.1
# What the first answer loads and keeps beside its tensors: code, buffers of the matrix libraries, and the tokenizer. Measured
# on a CPU; for a GPU it is an assumption (cuBLAS workspaces, and blocks that torch's allocator rounds up).
TEXT_OVERHEAD_BYTES = {"cpu": 28 * MIB, "mps": 64 * MIB, "cuda": 96 * MIB}
VISION_OVERHEAD_BYTES = 16 * MIB  # in RAM only
TOKENIZER_BYTES_PER_WORD = 400


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a SmolVLM2 checkpoint, as in its config.json. `patches` and `tile` (px, one side) are of one picture tile."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    vision_hidden: int
    vision_feed_forward: int
    patches: int
    tile: int
    tokens_per_tile: int

    def cache_bytes(self, tokens: int, number_bytes: int) -> int:
        """Keys and values of `tokens` places in every layer."""
        return 2 * self.layers * self.kv_heads * self.head_dim * number_bytes * tokens


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One answer. `largest_tiles`: tiles of the picture with most. `largest_picture_bytes`: of the largest one, decoded."""

    tiles: int
    largest_tiles: int
    largest_picture_bytes: int = 0
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How the answer is computed. `number_bytes`: 2 for bf16, 4 for float32.

    Attributes:
        piece_tokens: prompt tokens that go through the language model at once.
        tiles_at_once: tiles that go through the vision encoder at once.
        keeps_features: whether the features of all tiles wait for the prefill, or of one group only.
    """

    device: str
    number_bytes: int
    piece_tokens: int
    tiles_at_once: int
    keeps_features: bool = True


def shape_of(config: dict[str, Any], tile: int) -> ModelShape:
    """From a checkpoint's config.json. `tile` in px, from its preprocessor_config.json.

    Raises:
        KeyError: a size is missing.
    """
    text, vision = config["text_config"], config["vision_config"]
    heads = text["num_attention_heads"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    return ModelShape(
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        feed_forward=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        vision_hidden=vision["hidden_size"],
        vision_feed_forward=vision["intermediate_size"],
        patches=patches,
        tile=tile,
        tokens_per_tile=patches // config["scale_factor"] ** 2,
    )


def answer_bytes(shape: ModelShape, work: Workload, engine: Engine) -> int:
    """The predicted peak in bytes, on top of the weights. See the table above."""
    b, in_ram = engine.number_bytes, engine.device != "cuda"
    tile_bytes = shape.tile**2 * PIXEL_BYTES
    pixels = work.largest_tiles * tile_bytes if in_ram else 0
    resizing = _resizing(work, tile_bytes) if in_ram else 0
    group = min(engine.tiles_at_once, work.tiles)
    feature_tiles = work.tiles if engine.keeps_features else group
    features = feature_tiles * shape.tokens_per_tile * shape.hidden * b
    kept = features if in_ram else 0
    gaps = CPU_CACHE_GAPS if engine.device == "cpu" else 1.0
    embedded = work.prompt_tokens * shape.hidden * b
    read = int(gaps * shape.cache_bytes(work.prompt_tokens, b))
    written = int(gaps * shape.cache_bytes(work.prompt_tokens + work.new_tokens, b))
    phases = (
        pixels + resizing + kept,
        pixels + kept + features + group * _tile_activations(shape, b),
        kept + features + embedded + read + _piece_activations(shape, work.prompt_tokens, engine),
        kept + written + written // shape.layers + 8 * 4 * shape.vocabulary,
    )
    return _overhead(shape, work, engine.device) + max(phases)


def _overhead(shape: ModelShape, work: Workload, device: str) -> int:
    fixed = TEXT_OVERHEAD_BYTES.get(device, 0)
    if device == "cuda":
        return fixed
    return fixed + TOKENIZER_BYTES_PER_WORD * shape.vocabulary + (VISION_OVERHEAD_BYTES if work.tiles else 0)


def _resizing(work: Workload, tile_bytes: int) -> int:
    cutting = TILE_COPIES * work.largest_tiles * tile_bytes + 2 * work.largest_picture_bytes
    return int(max(CONVERSION_COPIES * work.largest_picture_bytes, cutting))


def _tile_activations(shape: ModelShape, b: int) -> int:
    """One tile in the vision encoder: its pixels (float32, and twice in the model's dtype), then in one layer four tensors
    (patches, hidden) and two (patches, feed_forward). The attention kernel does not store its scores."""
    pixels = shape.tile**2 * (PIXEL_BYTES + 2 * 3 * b)
    return pixels + shape.patches * b * (4 * shape.vision_hidden + 2 * shape.vision_feed_forward)


def _piece_activations(shape: ModelShape, prompt_tokens: int, engine: Engine) -> int:
    """The last piece of the prompt in one layer of the language model, where the cache is longest.

    The residual, the normed input (once in float32) and either attention (queries, rotated; keys and values repeated for all
    heads; the mask, and the same mask as numbers) or three tensors (piece, feed_forward). One layer's cache is copied as it
    grows.
    """
    b, piece = engine.number_bytes, min(engine.piece_tokens, prompt_tokens)
    width = shape.heads * shape.head_dim
    stream = piece * shape.hidden * (3 * b + 4)
    repeated = 2 * prompt_tokens * width * b if shape.heads != shape.kv_heads else 0
    attention = 3 * piece * width * b + repeated + piece * prompt_tokens * (1 + b)
    feed_forward = 3 * piece * shape.feed_forward * b
    return stream + max(attention, feed_forward) + shape.cache_bytes(prompt_tokens, b) // shape.layers

"""A checkpoint's JSON files, read and checked: sizes that no model has are refused before anything is allocated for them.

Does not know weights' contents, and does not import torch.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from smolvlm_core.errors import ModelError
from smolvlm_core.reading import check_file, read_text

MAX_JSON_BYTES = 64 * 2**20  # tokenizer.json of the largest vocabularies has about 30
AGAIN = "Download the checkpoint's files again."
# The largest value of each size: several times that of any published SmolVLM. px for edges, patches and tiles.
TEXT_SIZES = {
    "hidden_size": 2**14,
    "num_hidden_layers": 2**9,
    "num_attention_heads": 2**9,
    "intermediate_size": 2**17,
    "vocab_size": 2**20,
}
OPTIONAL_TEXT_SIZES = {"num_key_value_heads": 2**9, "head_dim": 2**10, "max_position_embeddings": 2**24}
VISION_SIZES = {"hidden_size": 2**13, "image_size": 2**12, "patch_size": 2**10, "intermediate_size": 2**16}
OPTIONAL_VISION_SIZES = {"num_hidden_layers": 2**8, "num_attention_heads": 2**8, "num_channels": 3}
MAX_SCALE_FACTOR, MAX_TILE, MAX_LONGEST_EDGE = 2**5, 2**12, 2**13
MAX_FPS, MAX_FRAMES = 1000, 2**12
MIN_BYTES_PER_PARAMETER = 1  # bf16 has 2, the smallest number that transformers loads has about 1


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of a checkpoint. Raises ModelError where it is missing or damaged."""
    path = folder / name
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where the folder may not be searched)
        raise ModelError(f"{folder} has no {name}.", "Choose a complete checkpoint folder, as downloaded from the hub.")
    try:
        value = json.loads(read_text(path, ModelError, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", AGAIN) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object.", AGAIN)
    return value


def check_configs(folder: Path, config: dict[str, Any], preprocessor: dict[str, Any]) -> None:
    """Raises ModelError where a size is missing, not a whole number, or larger than any model's; the message names it."""
    path = folder / "config.json"
    text, vision = _object(path, config, "text_config"), _object(path, config, "vision_config")
    if text.get("model_type", "llama") != "llama":
        raise ModelError(f"text_config in {path} is a {text['model_type']!r} model, not a 'llama'.", AGAIN)
    for part, required, optional in (
        (text, TEXT_SIZES, OPTIONAL_TEXT_SIZES),
        (vision, VISION_SIZES, OPTIONAL_VISION_SIZES),
    ):
        for name, most in required.items():
            size_in(path, part, name, most)
        for name, most in optional.items():
            if part.get(name) is not None:
                size_in(path, part, name, most)
    scale = size_in(path, config, "scale_factor", MAX_SCALE_FACTOR)
    if vision["image_size"] // vision["patch_size"] < scale:
        raise ModelError(f"In {path}, patch_size and scale_factor leave no token of a tile.", AGAIN)
    path = folder / "preprocessor_config.json"
    for name, most in (("max_image_size", MAX_TILE), ("size", MAX_LONGEST_EDGE)):
        size_in(path, _object(path, preprocessor, name), "longest_edge", most)
    _check_sampling(path, preprocessor.get("video_sampling") or {})


def _check_sampling(path: Path, sampling: Any) -> None:
    if not isinstance(sampling, dict):
        raise ModelError(f"{path} has no object video_sampling.", AGAIN)
    fps = sampling.get("fps", 1)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= MAX_FPS:
        raise ModelError(f"fps is {str(fps)[:40]} in {path}; a number up to {MAX_FPS} is needed.", AGAIN)
    if "max_frames" in sampling:
        size_in(path, sampling, "max_frames", MAX_FRAMES)


def size_in(path: Path, part: dict[str, Any], name: str, most: int) -> int:
    """A whole number from 1 to `most`. Raises ModelError, naming `path`."""
    if name not in part:
        raise ModelError(f"{path} lacks {name!r}.", AGAIN)
    value = part[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(f"{name} is {str(value)[:40]} in {path}; a whole number from 1 to {most} is needed.", AGAIN)
    return value


def _object(path: Path, parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise ModelError(f"{path} lacks {name!r}, or it is no object.", AGAIN)
    return value


def weights_in(folder: Path) -> list[Path]:
    """The weights' files. Raises ModelError where there are none, or one is no file."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(
            f"{folder} has no .safetensors weights.",
            "Download the whole checkpoint; other weight formats are not loaded.",
        )
    for path in weights:
        check_file(path, ModelError)
    return weights


def check_weights(folder: Path) -> None:
    """Before the weights are loaded: transformers makes what the files lack, as large as config.json says.

    Raises:
        ModelError: config.json describes more than the weights can hold, or the index names what is no file of the folder.
    """
    path = folder / "config.json"
    config = read_json(folder, path.name)
    check_configs(folder, config, read_json(folder, "preprocessor_config.json"))
    needed = least_parameters(config) * MIN_BYTES_PER_PARAMETER
    held = sum(path.stat().st_size for path in weights_in(folder))
    if needed > held:
        raise ModelError(
            f"{folder} cannot be loaded: config.json describes a model of {needed / 1e6:,.0f} M parameters; "
            f"the weights have only {held / 1e6:,.1f} MB.",
            "One of them is incomplete or belongs to another model. " + AGAIN,
        )
    index = folder / "model.safetensors.index.json"
    if index.exists() and not (folder / "model.safetensors").exists():
        _check_index(folder, index)


def _check_index(folder: Path, index: Path) -> None:
    files = read_json(folder, index.name).get("weight_map")
    if not isinstance(files, dict):
        raise ModelError(f"{index} lacks 'weight_map', or it is no object.", AGAIN)
    for name in {str(file) for file in files.values()}:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(f"{index} names {name[:100]!r}, which is no file of the folder.", AGAIN)


def least_parameters(config: dict[str, Any]) -> int:
    """A lower bound of a checked config.json: without biases, norms, the connector, and a second table of words."""
    text, vision = config["text_config"], config["vision_config"]
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    head_dim = text.get("head_dim") or hidden // heads
    attention = 2 * hidden * head_dim * (heads + (text.get("num_key_value_heads") or heads))
    layer = attention + 3 * hidden * text["intermediate_size"]
    seen = vision["hidden_size"]
    vision_layer = 4 * seen**2 + 2 * seen * vision["intermediate_size"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    vision_layers = vision.get("num_hidden_layers") or 0
    return int(
        text["vocab_size"] * hidden
        + text["num_hidden_layers"] * layer
        + vision_layers * vision_layer
        + seen * (patches + 3 * vision["patch_size"] ** 2)
    )

"""A copy of a checkpoint in which everything that stops the converter is repaired. Nothing is written to the user's folder.

The weights are linked, not copied. Facts about the converter: `convert_hf_to_gguf` of llama.cpp b11434.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolvlm_core.errors import ModelError

TEXT_ARCHITECTURE = "VLlama3ForCausalLM"  # what the converter takes for SmolVLM2's text model
TILES_PER_EDGE = 4  # SmolVLM2: 2048 / 512 and 1536 / 384


@dataclass(frozen=True)
class Staged:
    """`notes`: what was repaired. `pre_tokenizer`: the name to use where the converter recognises none, or ""."""

    folder: Path
    notes: tuple[str, ...]
    pre_tokenizer: str


def stage(checkpoint: Path, into: Path) -> Staged:
    """Raises ModelError where the checkpoint lacks a file that cannot be derived from others."""
    into.mkdir(parents=True)
    for path in sorted(checkpoint.iterdir()):
        if path.suffix == ".safetensors":
            _link(path, into / path.name)
        elif path.suffix in (".json", ".txt", ".model", ".jinja") and path.is_file():
            shutil.copyfile(path, into / path.name)
    notes = [*_repair_config(into), *_repair_preprocessor(into)]
    pre_tokenizer = pre_tokenizer_of(_read(into / "tokenizer.json"))
    return Staged(into, tuple(notes), pre_tokenizer)


def _repair_config(folder: Path) -> list[str]:
    path = folder / "config.json"
    config = _read(path)
    text = config.get("text_config")
    if not isinstance(text, dict):
        raise ModelError(f"{path.name} has no text_config.", "Give the folder of a SmolVLM2 checkpoint.")
    if text.get("architectures") == [TEXT_ARCHITECTURE]:
        return []
    text["architectures"] = [TEXT_ARCHITECTURE]
    path.write_text(json.dumps(config, indent=2))
    return [f"config.json named no text architecture (lost when transformers saves a model again): {TEXT_ARCHITECTURE}"]


def _repair_preprocessor(folder: Path) -> list[str]:
    """The projector file must say how pictures are cut. The converter takes a missing size to be one tile."""
    path = folder / "preprocessor_config.json"
    notes = []
    if not path.exists():
        inner = _read(folder / "processor_config.json").get("image_processor")
        if not isinstance(inner, dict):
            raise ModelError(
                "The checkpoint has neither preprocessor_config.json nor an image_processor in processor_config.json.",
                "Download it again, with all of its .json files.",
            )
        path.write_text(json.dumps(inner, indent=2))
        notes.append("preprocessor_config.json was missing: taken from processor_config.json")
    settings = _read(path)
    size = settings.get("size")
    if not (isinstance(size, dict) and size.get("longest_edge")):
        tile = (settings.get("max_image_size") or {}).get("longest_edge")
        tile = tile or _read(folder / "config.json")["vision_config"]["image_size"]
        settings["size"] = {"longest_edge": TILES_PER_EDGE * tile}
        path.write_text(json.dumps(settings, indent=2))
        notes.append(
            f"preprocessor_config.json gave no longest edge: {TILES_PER_EDGE} tiles of {tile} px, as SmolVLM2 has it"
        )
    return notes


def pre_tokenizer_of(tokenizer: dict[str, Any]) -> str:
    """ "smollm" where digits stand alone and the rest is byte-level, as in SmolLM2's tokenizer; "" for others."""
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre]) if pre.get("type") == "Sequence" else [pre]
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and not steps[1].get("add_prefix_space"):
        return "smollm"
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"The checkpoint has no {path.name}.", "Download the complete checkpoint again.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}.", "Download the checkpoint again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} is not a JSON object.", "Download the checkpoint again.")
    return value


def _link(source: Path, target: Path) -> None:
    """A link where the system allows one: weights are large."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

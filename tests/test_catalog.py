from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from smolvlm_core.errors import ModelError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import BUNDLED, choose_default
from smolvlm_core.models.machine import GIB, Machine

LARGE, MIDDLE, SMALL = (spec.key for spec in catalog.PUBLISHED)


@pytest.mark.parametrize(
    ("gpu_gib", "ram_gib", "hub", "cached", "expected"),
    [
        (24, 64, True, (), LARGE),
        (8, 32, True, (), LARGE),  # an RTX 4070 laptop GPU
        (4, 16, True, (), MIDDLE),
        (0, 16, True, (), SMALL),
        (0, 2, True, (), BUNDLED),
        (0, 16, False, (), BUNDLED),
        (24, 64, False, (), BUNDLED),
        (24, 64, False, (SMALL,), SMALL),
        (0, 16, False, (LARGE,), BUNDLED),  # too slow and too large without a GPU
        (0, 16, False, (SMALL,), SMALL),
    ],
)
def test_the_default_model_fits_the_machine(
    gpu_gib: int, ram_gib: int, hub: bool, cached: tuple[str, ...], expected: str
) -> None:
    machine = Machine(ram_gib * GIB, "GPU" if gpu_gib else "", gpu_gib * GIB, hub)
    key, reason = choose_default(machine, frozenset(cached))
    assert key == expected and reason.endswith(".")


def test_memory_estimates_of_the_published_models() -> None:
    large, _, small = catalog.PUBLISHED
    assert large.kv_bytes_per_token == 192 * 1024 and small.kv_bytes_per_token == 22.5 * 1024
    assert large.memory_bytes < 8 * GIB, "the docs say that the 2.2B model runs on 8 GB GPUs"


def test_the_bundled_model_states_its_limits() -> None:
    spec = catalog.find("smolvlm-shapes")
    assert "does not know photos" in spec.note
    assert spec.weights_bytes < 25 * 2**20 and spec.tokens_per_square_image == 180
    assert catalog.is_cached(spec)


def test_models_are_looked_up_by_key_hub_id_and_folder() -> None:
    assert catalog.find("HuggingFaceTB/SmolVLM2-2.2B-Instruct").key == LARGE
    assert catalog.find(str(catalog.BUNDLED_CHECKPOINT)).parameters == catalog.bundled().parameters
    with pytest.raises(ModelError, match="no model called 'nonsense'") as caught:
        catalog.find("nonsense")
    assert LARGE in caught.value.hint


def test_an_incomplete_checkpoint_folder_is_refused_and_the_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no config.json"):
        catalog.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        catalog.from_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ModelError, match="'llama' model"):
        catalog.from_folder(tmp_path)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(catalog.BUNDLED_CHECKPOINT / name, tmp_path)
    with pytest.raises(ModelError, match="no .safetensors weights"):
        catalog.from_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    config = json.loads((tmp_path / "config.json").read_text())
    del config["text_config"]["num_hidden_layers"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="num_hidden_layers"):
        catalog.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("file", "place", "value", "said"),
    [
        ("config.json", ("text_config", "hidden_size"), 10**9, "hidden_size is 1000000000 in"),
        ("config.json", ("text_config", "vocab_size"), 2**62, "vocab_size is"),
        ("config.json", ("text_config", "num_attention_heads"), 0, "num_attention_heads is 0"),
        ("config.json", ("text_config", "num_hidden_layers"), "4", "num_hidden_layers is 4"),
        ("config.json", ("text_config", "num_key_value_heads"), 1e308, "num_key_value_heads is 1e"),
        ("config.json", ("text_config", "model_type"), "mixtral", "a 'mixtral' model"),
        ("config.json", ("text_config",), [], "lacks 'text_config'"),
        ("config.json", ("vision_config", "image_size"), 10**6, "image_size is 1000000"),
        ("config.json", ("vision_config", "patch_size"), 512, "leave no token"),
        ("config.json", ("scale_factor",), True, "scale_factor is True"),
        ("preprocessor_config.json", ("size",), None, "lacks 'size'"),
        ("preprocessor_config.json", ("size", "longest_edge"), 10**9, "longest_edge is 1000000000"),
        ("preprocessor_config.json", ("video_sampling",), {"fps": float("nan")}, "fps is nan"),
        ("preprocessor_config.json", ("video_sampling",), {"max_frames": 10**9}, "max_frames is 1000000000"),
    ],
)
def test_sizes_that_no_model_has_are_refused(
    file: str, place: tuple[str, ...], value: object, said: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(catalog.BUNDLED_CHECKPOINT, tmp_path / "m"))
    config = json.loads((folder / file).read_text())
    part = config
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    (folder / file).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said) as caught:
        catalog.from_folder(folder)
    assert file in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff\xfe{}", b"[]", b"", b"null"])
def test_json_that_cannot_be_read_names_its_file(text: bytes, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(catalog.BUNDLED_CHECKPOINT, tmp_path / "m"))
    (folder / "preprocessor_config.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        catalog.from_folder(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs among files")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_a_checkpoint_folder_is_not_waited_for(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(catalog.BUNDLED_CHECKPOINT, tmp_path / "m"))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match="a device or a pipe"):
        catalog.from_folder(folder)

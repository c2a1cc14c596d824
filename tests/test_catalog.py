from __future__ import annotations

import json
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

"""Pictures are encoded once, by the fastest encoder that agrees with torch's. On the bundled model, for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.engine.prefix_cache import PrefixCaches
from smolvlm_core.engine.state import EngineState, features_of
from smolvlm_core.engine.vision import choice, openvino
from smolvlm_core.engine.vision.encoder import TorchEncoder
from smolvlm_core.engine.vision.features import FeatureCache, tile_key
from smolvlm_core.models import catalog
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.work.pool import Pool
from tests.conftest import drawn
from tests.test_backend import PICTURES, prompt_of, run


@pytest.fixture(scope="module")
def fresh_pool() -> Iterator[Pool]:
    """A pool of its own: its feature cache starts empty."""
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture
def fresh(fresh_pool: Pool) -> TransformersBackend:
    backend = TransformersBackend(catalog.bundled(), pool=fresh_pool)
    run(backend, prompt_of(("hello", ())))
    forget_prefixes(backend)
    features_of(fresh_pool).clear()
    return backend


def loaded_of(backend: TransformersBackend) -> LoadedModel:
    loaded = backend.handle.loaded
    assert loaded is not None
    return loaded


def state_of(backend: TransformersBackend) -> EngineState:
    state = backend.handle.cache
    assert isinstance(state, EngineState)
    return state


def forget_prefixes(backend: TransformersBackend) -> None:
    state_of(backend).prefixes = PrefixCaches(loaded_of(backend).model.config.get_text_config())


def tile_of(backend: TransformersBackend, key: str = "red") -> torch.Tensor:
    loaded = loaded_of(backend)
    made = encode_prompt(prompt_of(("What?", [key])), backend.spec, loaded.tokenizer, loaded.image_processor)
    assert made.tiles is not None
    return made.tiles[-1]


# Features


def test_a_picture_is_encoded_once(fresh: TransformersBackend) -> None:
    """In another conversation, after the key-value cache is gone, and after a restart: by its pixels, whatever it is called."""
    answer, first, _ = run(fresh, prompt_of(("What color is the circle?", ["red"])))
    assert first.known_tiles < 5  # plain tiles of one picture may be alike
    forget_prefixes(fresh)
    again, second, _ = run(fresh, prompt_of(("What color is the circle?", ["red"])))
    assert (second.reused_tokens, second.known_tiles, again) == (0, 5, answer)
    forget_prefixes(fresh)
    state_of(fresh).tiles = None
    restarted = FeatureCache()
    fresh._pool._shared["features"] = restarted
    _, third, _ = run(fresh, prompt_of(("What color is the circle?", ["red"])))
    assert third.known_tiles == 5 and restarted.memory_bytes > 0, "found on disk"
    PICTURES["copy of red"] = drawn("red")
    forget_prefixes(fresh)
    _, copy, _ = run(fresh, prompt_of(("What color is the circle?", ["copy of red"])))
    assert copy.known_tiles == 5
    _, other, _ = run(fresh, prompt_of(("What color is the circle?", ["blue"])))
    assert other.known_tiles < 5


def test_features_of_other_weights_or_encoders_are_not_used(fresh: TransformersBackend) -> None:
    tile = tile_of(fresh)
    keys = {tile_key(tile, name) for name in ("weights torch bf16", "weights OpenVINO bf16", "others torch bf16")}
    assert len(keys) == 3 and tile_key(tile.clone(), "weights torch bf16") in keys
    assert tile_key(tile + 1e-3, "weights torch bf16") not in keys


def test_the_disk_is_kept_within_its_budget_and_cleared(tmp_path: Path) -> None:
    cache = FeatureCache(lambda: tmp_path, memory_bytes=1, disk_bytes=10_000)  # nothing fits in memory
    for i in range(5):
        cache.put(f"k{i}", torch.full((10, 100), i, dtype=torch.bfloat16))  # 2 kB
        path = tmp_path / f"k{i}.safetensors"
        if path.exists():
            os.utime(path, (i, i))
    assert cache.disk_bytes() <= 10_000
    assert cache.get("k0") is None, "the least recently used goes first"
    found = cache.get("k3")
    assert found is not None and found.dtype == torch.bfloat16 and bool((found == 3).all())
    (tmp_path / "k3.safetensors").write_bytes(b"damaged")
    assert cache.get("k3") is None and not (tmp_path / "k3.safetensors").exists()
    cache.clear()
    assert cache.disk_bytes() == 0 and cache.get("k4") is None


def test_a_disk_that_cannot_be_written_is_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = FeatureCache(lambda: tmp_path / "file" / "features")
    cache.put("k", torch.ones(2, 2))
    assert cache.get("k") is not None and cache.disk_bytes() == 0


# Conversations


def test_going_back_to_another_conversation_reads_only_what_is_new(fresh: TransformersBackend) -> None:
    first = prompt_of(("What color is the circle?", ["red"]))
    answer, one, _ = run(fresh, first)
    run(fresh, prompt_of(("What color is the circle?", ["green"])))
    follow_up = prompt_of(("What color is the circle?", ["red"]), answer, ("What shape is it?", ()))
    text, back, _ = run(fresh, follow_up)
    assert back.reused_tokens >= one.prompt_tokens and text == "Circle."
    _, other, _ = run(fresh, prompt_of(("What shape is red?", ["red"])))
    assert other.reused_tokens > 180, "the start that two conversations share is copied"
    assert run(fresh, first)[1].reused_tokens >= one.prompt_tokens - 1, "and the first conversation is still there"
    assert run(fresh, follow_up)[0] == text


def test_caches_are_dropped_beyond_their_budget(fresh: TransformersBackend) -> None:
    prefixes = state_of(fresh).prefixes
    run(fresh, prompt_of(("What color is the circle?", ["red"])))
    prefixes.max_bytes = int(prefixes.nbytes * 1.5)
    run(fresh, prompt_of(("What color is the circle?", ["blue"])))
    assert len(prefixes) == 1, "the least recently used one is gone"
    assert run(fresh, prompt_of(("What color is the circle?", ["blue"])))[1].reused_tokens > 180
    assert run(fresh, prompt_of(("What color is the circle?", ["red"])))[1].reused_tokens < 10


# Encoders


@pytest.fixture
def medium(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders are tried for the bundled model too, which is otherwise too small."""
    monkeypatch.setattr(choice, "SMALL_PARAMETERS", 0)


def test_openvino_agrees_with_torch(fresh: TransformersBackend, medium: None) -> None:
    loaded, tile = loaded_of(fresh), tile_of(fresh)
    assert choice.offered(loaded)[:2] == ["torch bf16", "OpenVINO bf16"]
    encoder = openvino.prepare(loaded, "bf16", [tile])
    tiles = torch.stack([tile, tile_of(fresh, "blue")])
    mine, torchs = encoder.encode(tiles), TorchEncoder(loaded).encode(tiles)
    assert mine.shape == torchs.shape == (2, 36, loaded.model.config.text_config.hidden_size)
    assert choice.agreement(mine, torchs) >= choice.AGREES_FROM
    assert choice.agreement(mine[:1], torchs[1:]) < choice.AGREES_FROM, "other pictures have other features"


@pytest.mark.skipif(not openvino.can_quantize(), reason="nncf is not on this machine")
def test_int8_is_offered_and_not_chosen(fresh: TransformersBackend, medium: None) -> None:
    """Its features differ more than the choice allows; its answers about shapes are the same."""
    loaded, tile = loaded_of(fresh), tile_of(fresh)
    encoder = openvino.prepare(loaded, "int8", [tile])
    tiles = torch.stack([tile_of(fresh, "blue"), tile_of(fresh, "green")])
    assert choice.agreement(encoder.encode(tiles), TorchEncoder(loaded).encode(tiles)) > 0.99
    assert choice.offered(loaded)[-1] == "OpenVINO int8"
    assert choice.choose(loaded, [tile], lambda text, share: None)[0].name != "OpenVINO int8"
    fresh.want_encoder("OpenVINO int8")
    for key, answer in (("red", "Red."), ("blue", "Blue."), ("green", "Green.")):
        assert run(fresh, prompt_of(("What color is the shape?", [key])))[0] == answer
    fresh.want_encoder("automatic")


def test_the_fastest_encoder_that_agrees_is_remembered(
    fresh: TransformersBackend, medium: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, tile = loaded_of(fresh), tile_of(fresh)
    assert choice.remembered(loaded) is None
    speeds = {"torch bf16": 2.0, "OpenVINO bf16": 1.0}
    monkeypatch.setattr(choice, "_timed", lambda encoder, tile: (encoder.encode(tile), speeds[encoder.name]))
    encoder, chosen = choice.choose(loaded, [tile], lambda text, share: None)
    assert encoder.name == chosen.name == "OpenVINO bf16" and openvino.is_converted(loaded, "bf16")
    assert "1.00 s a tile (torch bf16: 2.00 s a tile)" in chosen.describe()
    assert choice.remembered(loaded) == chosen
    monkeypatch.setattr(choice, "AGREES_FROM", 1.1)  # as if the features differed
    (choice.data_folder() / "vision-encoders.json").unlink()
    encoder, chosen = choice.choose(loaded, [tile], lambda text, share: None)
    assert encoder.name == "torch bf16" and "its features differ" in chosen.describe()


def test_an_encoder_that_does_not_run_is_never_fatal(
    fresh: TransformersBackend, medium: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, tile = loaded_of(fresh), tile_of(fresh)

    def broken(*_: object) -> None:
        raise RuntimeError("this CPU is not supported\nat line 1")

    monkeypatch.setattr(openvino, "OpenVinoEncoder", broken)
    encoder, chosen = choice.choose(loaded, [tile], lambda text, share: None)
    assert encoder.name == "torch bf16"
    assert "OpenVINO bf16: does not run here (this CPU is not supported)" in chosen.describe()
    choice.want(loaded, "OpenVINO bf16")
    encoder, chosen = choice.choose(loaded, [tile], lambda text, share: None)
    assert encoder.name == chosen.name == "torch bf16"


def test_answers_through_openvino_are_the_same(fresh: TransformersBackend, medium: None) -> None:
    assert fresh.vision_encoders()[:3] == ("automatic", "torch bf16", "OpenVINO bf16")
    fresh.want_encoder("OpenVINO bf16")
    assert fresh.wanted_encoder == "OpenVINO bf16"
    for key, answer in (("red", "Red."), ("blue", "Blue."), ("green", "Green.")):
        assert run(fresh, prompt_of(("What color is the shape?", [key])), GenerationSettings())[0] == answer
    assert "OpenVINO bf16" in fresh.status().text
    fresh.want_encoder("automatic")

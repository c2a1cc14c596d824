from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.errors import ModelError, OutOfMemoryError
from smolvlm_core.models import catalog, download
from smolvlm_core.models import load as loader
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Progress, Stats
from smolvlm_core.prompt.messages import Message
from smolvlm_core.work.pool import Handle, Pool
from tests.conftest import drawn

SHARED = Path(__file__).resolve().parents[2] / "shared"


def no_report(text: str, fraction: float | None) -> None:
    pass


def copy_of_bundled(folder: Path) -> Path:
    return Path(shutil.copytree(catalog.BUNDLED_CHECKPOINT, folder))


def test_loads_bf16_with_sdpa(backend: TransformersBackend) -> None:
    import torch

    loaded = loader.load(backend.spec, "bfloat16", "cpu", no_report)
    assert loaded.model.dtype == torch.bfloat16 and loaded.model.config._attn_implementation == "sdpa"
    assert loaded.memory_bytes < 20 * 2**20


def handle_of(pool: Pool, spec: ModelSpec, dtype: str = "bfloat16") -> Handle[LoadedModel]:
    return TransformersBackend(spec, dtype, pool=pool).handle


def test_ten_askers_load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, calls = Pool(), []
    real = loader.load
    monkeypatch.setattr(loader, "load", lambda *a: (calls.append(1), real(*a))[1])
    handles = [handle_of(pool, catalog.bundled()) for _ in range(10)]
    jobs = [handle.worker.submit(lambda handle=handle: handle.ensure()) for handle in handles]
    for job in jobs:
        assert job.finished.wait(60)
    assert len(calls) == 1 and len({id(h) for h in handles}) == 1 and handles[0].state == "ready"
    pool.close()


def test_dtype_is_part_of_the_key_and_settings_are_not() -> None:
    pool = Pool()
    assert handle_of(pool, catalog.bundled(), "float32") is not handle_of(pool, catalog.bundled(), "bfloat16")
    pool.close()


def test_the_least_recently_used_idle_model_goes_when_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool()
    specs = [catalog.from_folder(copy_of_bundled(tmp_path / name)) for name in ("old", "busy", "new")]
    old, busy, new = (handle_of(pool, spec) for spec in specs)
    for handle in (old, busy):
        assert handle.worker.submit(lambda handle=handle: handle.ensure()).finished.wait(60)
    gate, started = threading.Event(), threading.Event()
    busy.worker.submit(lambda: (started.set(), gate.wait(30)))
    assert started.wait(5)
    monkeypatch.setattr(loader, "free_memory", lambda device: 0)
    assert new.worker.submit(lambda: new.ensure()).finished.wait(60)
    assert old.loaded is None and busy.loaded is not None, "never the one that is answering"
    assert new.state == "ready" and handle_of(pool, specs[0]) is not old
    gate.set()
    pool.close()


def test_a_released_model_is_loaded_again_by_the_next_question(backend: TransformersBackend) -> None:
    prompt = build_prompt([Message("user", "hello")], {}.__getitem__)
    for _ in range(2):
        assert any(isinstance(e, Delta) for e in backend.generate(prompt, GenerationSettings(), threading.Event()))
        backend.close()


def test_a_missing_file_says_which(tmp_path: Path) -> None:
    folder = copy_of_bundled(tmp_path / "m")
    spec = catalog.from_folder(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        loader.load(spec, "bfloat16", "cpu", no_report)


def test_damaged_weights_are_an_error_in_words_and_can_be_tried_again(tmp_path: Path, pool: Pool) -> None:
    folder = copy_of_bundled(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:1000])
    backend = TransformersBackend(catalog.from_folder(folder), pool=pool)
    prompt = build_prompt([Message("user", "hello")], {}.__getitem__)
    events = []
    with pytest.raises(ModelError, match="cannot be loaded"):
        for event in backend.generate(prompt, GenerationSettings(), threading.Event()):
            events.append(event)
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "failed"
    assert backend.handle.state == "failed" and backend.handle.error is not None
    (folder / "model.safetensors").write_bytes(whole)
    assert any(isinstance(e, Delta) for e in backend.generate(prompt, GenerationSettings(), threading.Event()))
    backend.close()


def _without_words(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"]["vocab"] = 7


def _with_other_tokens(tokenizer: dict[str, Any]) -> None:
    for token in tokenizer["added_tokens"]:
        token["id"] += 5000
    tokenizer["model"]["vocab"] = {word: number + 5000 for word, number in tokenizer["model"]["vocab"].items()}


def _without_means(preprocessor: dict[str, Any]) -> None:
    preprocessor["image_mean"] = [0.5]


def _with_an_unknown_activation(config: dict[str, Any]) -> None:
    config["text_config"]["hidden_act"] = "nothing"


def _with_more_layers(config: dict[str, Any]) -> None:
    config["text_config"]["num_hidden_layers"] += 1


def _with_a_hundred_times_as_many(config: dict[str, Any]) -> None:
    config["text_config"] |= {"hidden_size": 8192, "vocab_size": 500_000, "num_hidden_layers": 100}


def _with_no_end(generation: dict[str, Any]) -> None:
    generation["eos_token_id"] = 10**6


def _with_a_beginning_of_words(generation: dict[str, Any]) -> None:
    generation["bos_token_id"] = "the beginning"


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("generation_config.json", _with_a_beginning_of_words, "bos_token_id is the beginning"),
        ("tokenizer.json", _without_words, "cannot be loaded: tokenizer.json in"),
        ("tokenizer.json", _with_other_tokens, "does not fit the model|cannot be loaded: tokenizer.json in"),
        ("preprocessor_config.json", _without_means, "cannot be loaded: preprocessor_config.json in"),
        ("config.json", _with_an_unknown_activation, "cannot be loaded: the weights in .*nothing"),
        ("config.json", _with_more_layers, "lacks 9 of the model's weights, such as"),
        ("config.json", _with_a_hundred_times_as_many, "cannot be loaded: config.json describes a model of"),
        (
            "generation_config.json",
            _with_no_end,
            "generation_config.json does not fit the model: eos_token_id is 1000000",
        ),
    ],
)
def test_a_damaged_checkpoint_is_an_error_that_names_the_file(
    file: str, change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    """These raised what transformers raises: Exception, AttributeError, TypeError. Or loaded, with weights that are made up."""
    folder = copy_of_bundled(tmp_path / "m")
    value = json.loads((folder / file).read_text())
    change(value)
    (folder / file).write_text(json.dumps(value))
    with pytest.raises(ModelError, match=said) as caught:
        loader.load(catalog.from_folder(folder), "bfloat16", "cpu", no_report)
    assert caught.value.hint


def test_an_index_names_files_of_the_folder_only(tmp_path: Path) -> None:
    folder = copy_of_bundled(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    for name in ("/dev/zero", "../m/part.safetensors", "gone.safetensors"):
        index = {"metadata": {}, "weight_map": {"model.text_model.norm.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ModelError, match="which is no file of the folder"):
            loader.load(catalog.from_folder(folder), "bfloat16", "cpu", no_report)


def test_without_the_hub_a_published_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "hub_reachable", lambda: False)
    with pytest.raises(ModelError, match="is not on this machine and the model hub cannot be reached") as caught:
        loader.load(catalog.PUBLISHED[2], "bfloat16", "cpu", no_report)
    assert "bundled model" in caught.value.hint


def test_out_of_memory_while_loading_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", fail)
    with pytest.raises(OutOfMemoryError, match="does not fit in memory") as caught:
        loader.load(catalog.bundled(), "bfloat16", "cpu", no_report)
    assert "smaller model" in caught.value.hint


def test_remote_code_and_pickles_are_never_used(tmp_path: Path) -> None:
    """A checkpoint that asks for its own code, or has only a pickle, is refused."""
    folder = copy_of_bundled(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    loaded = loader.load(catalog.from_folder(folder), "bfloat16", "cpu", no_report)
    assert type(loaded.model).__name__ == "SmolVLMForConditionalGeneration"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no .safetensors weights"):
        catalog.from_folder(folder)


@pytest.fixture(scope="module")
def real_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight checkpoint of the 256M model's real size, where its maker is."""
    maker = SHARED / "tools" / "make_checkpoint.py"
    if not maker.exists():
        pytest.skip("the maker of random-weight checkpoints is not on this machine")
    out = tmp_path_factory.mktemp("real") / "smolvlm2-256m-random"
    subprocess.run([sys.executable, str(maker), "--size", "256m", "--out", str(out)], check=True, capture_output=True)
    return out


def test_a_checkpoint_of_real_size(real_size: Path, pool: Pool) -> None:
    """The published layout: real tokenizer, real shapes, 512 px tiles."""
    spec = catalog.from_folder(real_size)
    published = catalog.PUBLISHED[2]
    assert spec.geometry == published.geometry and spec.kv_bytes_per_token == published.kv_bytes_per_token
    assert abs(spec.parameters - published.parameters) / published.parameters < 0.01
    from smolvlm_core.prompt.messages import Attachment

    image = Attachment(kind="image", sha256="a", name="a.png", mime="image/png", width=640, height=360)
    prompt = build_prompt([Message("user", "What is this?", (image,))], lambda _: drawn().resize((640, 360)))
    backend = TransformersBackend(spec, pool=pool)
    events = list(backend.generate(prompt, GenerationSettings(max_new_tokens=3), threading.Event()))
    stats = events[-1]
    assert isinstance(stats, Stats) and stats.image_tokens == 832 and stats.new_tokens >= 1
    assert any(isinstance(e, Progress) and "tile 13 of 13" in e.text for e in events)
    backend.close()


def test_a_model_released_during_an_answer_is_counted_until_it_is_gone() -> None:
    pool = Pool()
    backend = TransformersBackend(catalog.bundled(), pool=pool)
    handle = backend.handle
    assert handle.worker.submit(handle.ensure).finished.wait(60)
    assert backend.revision.startswith("sha256")
    gate, started = threading.Event(), threading.Event()
    handle.worker.submit(lambda: (started.set(), gate.wait(30)))
    assert started.wait(5)
    backend.close()
    assert pool.loaded() == [handle] and backend.revision.startswith("sha256"), "it still answers"
    gate.set()
    pool.close()
    assert pool.loaded() == [] and handle.loaded is None

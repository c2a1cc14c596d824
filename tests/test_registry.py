"""The one list of backends: what is added lasts, and what is on the machine already is offered without copying."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from smolvlm_core.backends import registry as registry_module
from smolvlm_core.backends.base import THIS_MACHINE, Entry
from smolvlm_core.backends.llama_cpp import GgufEntry
from smolvlm_core.backends.registry import Registry
from smolvlm_core.backends.remote.ollama import OllamaEntry
from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace
from tests.conftest import Ggufs
from tests.test_ollama import FakeOllama, server  # noqa: F401


@pytest.fixture
def no_other_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder and caches of this test's own."""
    for name, folder in (("HOME", ""), ("LLAMA_CACHE", "llama"), ("XDG_CACHE_HOME", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("smolvlm_core.backends.remote.ollama.DEFAULT_URL", "http://127.0.0.1:9")
    return tmp_path


def test_a_checkpoint_folder_lasts_over_a_restart(workspace: Workspace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(catalog.BUNDLED_CHECKPOINT, tmp_path / "mine"))
    workspace.registry.add(CheckpointEntry.of(catalog.from_folder(folder), added=True))
    again = Registry(workspace.folder, Pool())
    entry = next(e for e in again.entries() if e.added)
    backend = entry.make(Pool(), "float32")
    assert (entry.title, backend.device) == ("mine", THIS_MACHINE) and "fp32" in backend.name
    assert [path.name for path in backend.files()] == ["model.safetensors"]
    shutil.rmtree(folder)
    assert entry in again.entries(), "it stays in the list, and says why it cannot be used"
    with pytest.raises(LensError):
        entry.make(Pool())


def test_nothing_is_discovered_where_there_is_nothing(workspace: Workspace, no_other_models: Path) -> None:
    workspace.registry.scan()
    found = [e.key for e in workspace.registry.entries() if not e.key.startswith("hybrid:")]
    assert found == [spec.key for spec in catalog.models()]


def test_a_kind_registered_during_a_search_does_not_break_it(
    workspace: Workspace, no_other_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "KINDS", dict(registry_module.KINDS))
    discover = CheckpointEntry.discover

    def discover_and_register() -> list[Entry]:
        registry_module.KINDS["late"] = CheckpointEntry
        return list(discover())

    monkeypatch.setattr(CheckpointEntry, "discover", discover_and_register)
    workspace.registry.scan()


def test_a_checkpoint_in_the_hugging_face_cache_is_offered(workspace: Workspace, no_other_models: Path) -> None:
    repo = no_other_models / "hub" / "models--someone--SmolVLM-tuned"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40)
    shutil.copytree(catalog.BUNDLED_CHECKPOINT, repo / "snapshots" / ("a" * 40))
    workspace.registry.scan()
    (entry, *_companions) = [e for e in workspace.registry.entries() if e.title == "SmolVLM-tuned"]
    assert Registry(workspace.folder, Pool()).find("SmolVLM-tuned") == entry, "the command line has not searched before"
    assert not entry.added and entry.is_on_this_machine
    backend = entry.make(Pool())
    assert backend.spec.context_tokens == 2048 and backend.name == "SmolVLM-tuned · transformers bf16"


@pytest.mark.parametrize("folder", [".lmstudio/models/someone/repo", "llama"])
def test_a_pair_of_lm_studio_or_llama_cpp_is_offered(
    workspace: Workspace, no_other_models: Path, ggufs: Ggufs, folder: str
) -> None:
    place = no_other_models / folder
    place.mkdir(parents=True)
    for path in (ggufs.text, ggufs.quantized, ggufs.projector):
        shutil.copy(path, place / path.name)
    shutil.copy(ggufs.text, place / "another-model.gguf")
    workspace.registry.scan()
    pairs = [e for e in workspace.registry.entries() if isinstance(e, GgufEntry)]
    assert {(Path(e.text).name, Path(e.projector).name) for e in pairs} == {
        (ggufs.text.name, ggufs.projector.name),
        (ggufs.quantized.name, ggufs.projector.name),
    }
    assert pairs[0].make(Pool()).capabilities().images


def test_the_models_of_a_running_ollama_are_offered(
    workspace: Workspace,
    no_other_models: Path,
    server: FakeOllama,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smolvlm_core.backends.remote.ollama.DEFAULT_URL", server.url)
    workspace.registry.scan()
    (entry,) = [e for e in workspace.registry.entries() if isinstance(e, OllamaEntry)]
    assert "smolvlm2" in entry.key and entry.make(Pool()).kind == "Ollama"


def test_removing_a_checkpoint_releases_every_precision_even_if_its_folder_is_gone(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(catalog.BUNDLED_CHECKPOINT, tmp_path / "mine"))
    registry = Registry(workspace.folder, Pool())
    entry = registry.add(CheckpointEntry.of(catalog.from_folder(folder), added=True))
    for precision in entry.precisions:
        handle = entry.make(registry.pool, precision).handle  # type: ignore[attr-defined]
        assert handle.worker.submit(handle.ensure).finished.wait(60)
    assert len(registry.pool.loaded()) == 2
    shutil.rmtree(folder)
    registry.remove(entry.key)
    assert registry.pool.loaded() == []


def test_one_kind_that_cannot_be_searched_does_not_stop_the_others(
    workspace: Workspace, no_other_models: Path, ggufs: Ggufs
) -> None:
    (no_other_models / "hub").write_text("not a folder")
    (no_other_models / "llama").mkdir()
    for path in (ggufs.text, ggufs.projector):
        shutil.copy(path, no_other_models / "llama" / path.name)
    workspace.registry.scan()
    assert any(isinstance(entry, GgufEntry) for entry in workspace.registry.entries())

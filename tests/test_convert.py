"""Checkpoint → GGUF files: mends, names, what is kept, what is refused. Quantizing needs llama.cpp; converting does not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.gguf import find_projector, read_gguf, spec_of, why_not_a_pair
from smolvlm_core.llamacpp.programs import find_quantizer
from smolvlm_core.llamacpp.repair import pre_tokenizer_of, stage
from smolvlm_core.llamacpp.verify import verify_pair
from smolvlm_core.models import catalog
from tests.conftest import Ggufs
from tests.llama import needs_quantizer

BUNDLED = catalog.bundled().folder
assert BUNDLED is not None


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "my checkpoint (new)"
    shutil.copytree(BUNDLED, folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundled model's F16 pair."""
    folder = tmp_path_factory.mktemp("made")
    convert(BUNDLED, folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_both_files_are_created_and_verified(made: Path) -> None:
    text, projector = made / "smolvlm-shapes-F16.gguf", made / "mmproj-smolvlm-shapes-F16.gguf"
    findings = verify_pair(text, projector, BUNDLED, catalog.bundled())
    assert len(findings) >= 9 and all(f.level == "ok" for f in findings), findings
    facts, eyes = read_gguf(text), read_gguf(projector)
    assert (facts.kind, facts.hidden_size, facts.vocab_size, facts.context_tokens) == ("text", 256, 1024, 2048)
    assert (eyes.kind, eyes.projector_type, eyes.tile, eyes.longest_edge) == ("projector", "idefics3", 96, 192)
    spec = spec_of(facts, eyes)
    assert spec.geometry.tokens_per_tile == 36
    assert spec.kv_bytes_per_token == catalog.bundled().kv_bytes_per_token
    assert find_projector(facts) == projector


def test_a_text_model_alone_fails_verification(made: Path) -> None:
    findings = verify_pair(made / "smolvlm-shapes-F16.gguf", None, BUNDLED, catalog.bundled())
    assert any(f.level == "error" and "no projector" in f.what for f in findings)


def test_problems_for_the_converter_are_repaired_in_a_copy(checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint saved again by transformers loses the text architecture; some name no preprocessor size."""
    config = json.loads((checkpoint / "config.json").read_text())
    del config["text_config"]["architectures"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    preprocessor = json.loads((checkpoint / "preprocessor_config.json").read_text())
    preprocessor["size"] = {}
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    before = files(checkpoint)
    staged = stage(checkpoint, tmp_path / "staged")
    assert [("architecture" in t, "longest edge" in t) for t in staged.notes] == [(True, False), (False, True)]
    assert json.loads((staged.folder / "preprocessor_config.json").read_text())["size"] == {"longest_edge": 384}
    assert staged.pre_tokenizer == "smollm"
    assert files(checkpoint) == before


def test_a_lost_architecture_key_converts_all_the_same(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    del config["text_config"]["architectures"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    done = convert(checkpoint, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.gguf")) == [
        "mmproj-my-checkpoint-new-F16.gguf",
        "my-checkpoint-new-F16.gguf",
    ]
    assert any("architecture" in line for line in done.notes)


def test_settings_of_the_processor_are_taken_where_the_preprocessors_file_is_missing(
    checkpoint: Path, tmp_path: Path
) -> None:
    inner = json.loads((checkpoint / "preprocessor_config.json").read_text())
    (checkpoint / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="neither"):
        stage(checkpoint, tmp_path / "a")
    rewrite(checkpoint / "processor_config.json", image_processor=inner)
    staged = stage(checkpoint, tmp_path / "b")
    assert json.loads((staged.folder / "preprocessor_config.json").read_text()) == inner


@pytest.mark.parametrize(
    ("pre_tokenizer", "name"),
    [
        (None, ""),
        ({"type": "ByteLevel", "add_prefix_space": False}, ""),
        ({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, {"type": "ByteLevel"}]}, ""),
        ({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}]}, "smollm"),
    ],
)  # fmt: skip
def test_only_a_tokenizer_like_smollms_is_called_that(pre_tokenizer: object, name: str) -> None:
    assert pre_tokenizer_of({"pre_tokenizer": pre_tokenizer}) == name


def test_finished_files_are_reused_and_partial_ones_are_not(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / "smolvlm-shapes-F16.gguf").unlink()
    again = convert(BUNDLED, out)
    assert [again.texts[0].reused, again.projector.reused] == [False, True]
    assert not list(out.glob(".convert-*"))
    assert (out / "smolvlm-shapes-F16.gguf").read_bytes() == (made / "smolvlm-shapes-F16.gguf").read_bytes()


def test_files_of_a_changed_checkpoint_are_converted_again(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(checkpoint, out)
    rewrite(checkpoint / "chat_template.json", chat_template="{{ messages }}")
    done = convert(checkpoint, out)
    assert not done.texts[0].reused and not done.projector.reused
    assert any("converted again" in line for line in done.notes)


def test_a_failed_run_leaves_no_file_and_says_why(checkpoint: Path, tmp_path: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="failed: ") as failed:
        convert(checkpoint, tmp_path / "out")
    assert "safetensors" in str(failed.value).lower() or "error" in str(failed.value).lower()
    assert not list((tmp_path / "out").glob("*"))


def test_files_that_were_not_created_here_are_not_overwritten(made: Path, tmp_path: Path) -> None:
    """A downloaded file of that name, and files of a checkpoint whose name begins alike."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "smolvlm-shapes-v2-F16.gguf").write_bytes(b"another model's")
    convert(BUNDLED, out)
    assert (out / "smolvlm-shapes-v2-F16.gguf").read_bytes() == b"another model's"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "smolvlm-shapes-F16.gguf").write_bytes(b"downloaded")
    with pytest.raises(ModelError, match="not created by this conversion"):
        convert(BUNDLED, taken)
    assert files(taken) == {"smolvlm-shapes-F16.gguf": b"downloaded"}


def test_two_checkpoints_of_the_same_name_do_not_take_each_others_place(checkpoint: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "elsewhere" / checkpoint.name
    convert(checkpoint, out)
    before = files(out)
    shutil.copytree(checkpoint, other)
    with pytest.raises(ModelError, match="converted from"):
        convert(other, out)
    assert files(out) == before


def test_a_read_only_output_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="Writing to"):
        convert(BUNDLED, tmp_path / "file")


def test_without_a_preprocessors_size_it_converts_all_the_same(checkpoint: Path, tmp_path: Path) -> None:
    rewrite(checkpoint / "preprocessor_config.json", size={})
    done = convert(checkpoint, tmp_path / "out")
    assert read_gguf(done.projector.path).longest_edge == done.spec.geometry.longest_edge == 384


def test_a_full_disk_is_reported_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ModelError, match=r"need about .* GiB"):
        convert(checkpoint, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.gguf"))


@pytest.mark.parametrize(("what", "options"), [("Q9_X", {"quantizations": ["Q9_X"]}), ("q4_k", {"projector": "q4_k"})])
def test_unknown_types_are_refused(what: str, options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=what):
        convert(BUNDLED, tmp_path, **options)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        convert(tmp_path, tmp_path / "out")


def test_damaged_files_have_distinct_errors(made: Path, tmp_path: Path) -> None:
    whole = (made / "mmproj-smolvlm-shapes-F16.gguf").read_bytes()
    broken = tmp_path / "broken.gguf"
    for data in (b"", b"GGUF", whole[:1000], b"\0" * 4096, whole[:-100_000]):
        broken.write_bytes(data)
        with pytest.raises(ModelError, match="not a complete GGUF"):
            read_gguf(broken)
    with pytest.raises(ModelError, match="no file"):
        read_gguf(tmp_path / "nothing.gguf")


def test_mutated_files_raise_only_model_errors(made: Path, tmp_path: Path) -> None:
    whole = np.frombuffer((made / "smolvlm-shapes-F16.gguf").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    path = tmp_path / "mutated.gguf"
    for _ in range(60):
        data = whole.copy()
        places = rng.integers(0, 60_000, rng.integers(1, 8))
        data[places] = rng.integers(0, 256, len(places), dtype=np.uint8)
        path.write_bytes(data.tobytes())
        try:
            read_gguf(path)
        except ModelError:
            continue


def test_files_that_do_not_fit_together_are_reported(made: Path) -> None:
    text, eyes = read_gguf(made / "smolvlm-shapes-F16.gguf"), read_gguf(made / "mmproj-smolvlm-shapes-F16.gguf")
    assert why_not_a_pair(text, eyes) == ""
    assert "not a vision projector" in why_not_a_pair(text, text)
    assert "not a text model" in why_not_a_pair(eyes, eyes)


@needs_quantizer
def test_quantized_files_are_smaller_and_complete(ggufs: Ggufs) -> None:
    quantized = read_gguf(ggufs.quantized)
    assert (quantized.quantization, quantized.path.name) == ("Q4_K_M", "smolvlm-shapes-Q4_K_M.gguf")
    assert quantized.size_bytes < 0.4 * read_gguf(ggufs.text).size_bytes
    assert find_projector(quantized) == ggufs.projector


@needs_quantizer
def test_q8_0_of_the_converter_is_the_same_as_of_llama_quantize(made: Path, tmp_path: Path) -> None:
    """So it does not matter that the converter creates it on every machine."""
    from gguf import GGUFReader

    out = tmp_path / "out"
    shutil.copytree(made, out)
    ours = convert(BUNDLED, out, ["q8_0"]).texts[1].path
    theirs = tmp_path / "theirs.gguf"
    subprocess.run([find_quantizer("Q8_0"), made / "smolvlm-shapes-F16.gguf", theirs, "Q8_0"], check=True)
    tensors = [{t.name: (t.tensor_type, t.data.tobytes()) for t in GGUFReader(path).tensors} for path in (ours, theirs)]
    assert tensors[0] == tensors[1]
    assert any(kind.name == "Q8_0" for kind, _ in tensors[0].values())

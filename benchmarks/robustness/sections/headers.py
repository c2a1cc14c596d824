"""GGUF and safetensors files whose headers are damaged, or claim what the files do not have."""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.robustness.section import Section, mutated

STRING, ARRAY = 8, 9
HUGE = (2**16, 2**24, 2**31, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "general.tags", "llama.attention.head_count_kv")
NUMBERS = (
    *("llama.embedding_length", "llama.block_count", "llama.attention.head_count", "llama.context_length"),
    *("llama.attention.key_length", "clip.vision.image_size", "clip.vision.patch_size", "clip.vision.projection_dim"),
    *("clip.vision.projector.scale_factor", "clip.vision.preproc_image_size", "general.alignment", "general.file_type"),
    "tokenizer.ggml.eos_token_id",
)


class Headers(Section):
    """A case is (file name, bytes)."""

    name, full_count = "headers", 1000

    def case(self, number: int, dice: random.Random) -> tuple[str, bytes]:
        match number % 5:
            case 0:
                return "model.gguf", mutated(_whole("llama"), dice)
            case 1:
                return "mmproj-model.gguf", mutated(_whole("clip"), dice)
            case 2 | 3:
                return "crafted.gguf", _crafted(dice)
        return "model.safetensors", _safetensors(dice)

    def start(self, folder: Path) -> None:
        """Import torch and load the bundled checkpoint, which takes longer than a case."""
        import gguf  # noqa: F401

        from smolvlm_core.models.catalog import bundled
        from smolvlm_core.models.load import load

        load(bundled(), "float32", "cpu", lambda text, share: None)

    def attempt(self, case: tuple[str, bytes], folder: Path) -> str:
        from smolvlm_core.llamacpp.gguf import find_projector, read_gguf, spec_of
        from smolvlm_core.llamacpp.lint import lint

        name, data = case
        (folder / name).write_bytes(data)
        if name.endswith(".safetensors"):
            return _load_safetensors(folder)
        facts = read_gguf(folder / name)
        find_projector(facts)
        spec = spec_of(facts, facts if facts.kind == "projector" else None)
        spec.geometry.grid(640, 480)
        spec.describe_costs()
        lint(folder / name)
        return "used"


def _load_safetensors(folder: Path) -> str:
    """In place of the bundled checkpoint's weights."""
    import shutil

    from smolvlm_core.models.catalog import from_folder
    from smolvlm_core.models.load import load
    from smolvlm_core.paths import BUNDLED_CHECKPOINT

    for path in BUNDLED_CHECKPOINT.glob("*.json"):
        shutil.copy(path, folder)
    load(from_folder(folder), "float32", "cpu", lambda text, share: None)
    return "used"


@cache
def _whole(architecture: str) -> bytes:
    """A small GGUF file as the converter writes it."""
    import numpy as np
    from gguf import GGUFWriter, TokenType

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gguf"
        writer = GGUFWriter(path, architecture)
        writer.add_name("SmolVLM2 damaged")
        writer.add_file_type(1)
        for name, value in zip(NUMBERS[:10], (64, 2, 4, 2048, 16, 64, 8, 64, 2, 256)):
            if name.startswith(architecture):
                writer.add_uint32(name, value)
        if architecture == "llama":
            writer.add_tokenizer_model("gpt2")
            writer.add_token_list([f"token {i}" for i in range(50)])
            writer.add_token_types([TokenType.NORMAL] * 50)
            writer.add_chat_template("{% for message in messages %}{{ message['role'] }}{% endfor %}")
            writer.add_eos_token_id(7)
        writer.add_tensor("a.weight", np.zeros((8, 8), np.float32))
        writer.add_tensor("b.weight", np.zeros((32,), np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _crafted(dice: random.Random) -> bytes:
    """A header with one or two lies: counts, lengths, dimensions, kinds, nesting."""
    fields = [_text("general.architecture") + struct.pack("<I", STRING) + _text(dice.choice(("llama", "clip", "x")))]
    fields.append(_text(ARRAYS[0]) + struct.pack("<IIQ", ARRAY, STRING, 2) + _text("a") + _text("b"))
    for _ in range(dice.randint(1, 2)):
        fields.append(_lie(dice))
    tensors = b"".join(_tensor(dice, i) for i in range(dice.randint(0, 2)))
    counts = [tensors.count(b"weight"), len(fields)]
    if dice.random() < 0.3:
        counts[dice.randrange(2)] = dice.choice(HUGE)
    version = dice.choice((3, 3, 3, 3, 2, 1, 0, 4, 0x03000000))
    out = io.BytesIO()
    out.write(b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(fields) + tensors)
    out.write(dice.randbytes(dice.choice((0, 1, 100, 5000))))
    if dice.random() < 0.05:
        out.write(bytes(2**25))
    return out.getvalue()


def _lie(dice: random.Random) -> bytes:
    huge = dice.choice(HUGE)
    match dice.randrange(7):
        case 0:
            return _text(dice.choice(ARRAYS)) + struct.pack("<IIQ", ARRAY, dice.choice((0, 4, 6, 8, 10, 12)), huge)
        case 1:
            depth = dice.choice((1, 10, 2000))
            return _text("a") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * depth
        case 2:
            return _text("tokenizer.chat_template") + struct.pack("<IQ", STRING, huge) + b"{{ 1 }}"
        case 3:
            return struct.pack("<Q", huge) + b"key"
        case 4:
            return _text(dice.choice(NUMBERS)) + struct.pack("<IQ", 10, huge)
        case 5:
            return _text(dice.choice((*NUMBERS, *ARRAYS))) + struct.pack("<If", 6, dice.choice((float("nan"), 1e38)))
    many = dice.choice((1000, 200_000))
    return _text(dice.choice(ARRAYS)) + struct.pack("<IIQ", ARRAY, STRING, many) + bytes(8 * many)


def _tensor(dice: random.Random, number: int) -> bytes:
    dimensions = dice.choice((0, 1, 2, 4, 5, 2**31))
    shape = [dice.choice((0, 1, 8, *HUGE)) for _ in range(min(dimensions, 8))]
    start = _text(f"weight{number if dice.random() < 0.9 else 0}") + struct.pack(f"<I{len(shape)}Q", dimensions, *shape)
    return start + struct.pack("<IQ", dice.choice((0, 1, 2, 8, 30, 99)), dice.choice((0, 32, *HUGE)))


def _safetensors(dice: random.Random) -> bytes:
    from benchmarks.robustness.sections.checkpoints import damaged_weights

    if dice.random() < 0.3:
        header: dict[str, Any] = {
            f"w{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(3)
        }
        header[dice.choice(("w1", "__metadata__", "x"))] = dice.choice(
            (None, [], "x", {"dtype": 1}, {"shape": [2**62]})
        )
        text = dice.choice((json.dumps(header).encode(), b"[" * 100_000, b'{"a":' * 50_000, b""))
        return struct.pack("<Q", dice.choice((len(text), *HUGE))) + text + bytes(12)
    return damaged_weights(dice)


SECTION = Headers()

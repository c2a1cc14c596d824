"""GGUF headers that claim what they do not have. tests/test_lint.py and tests/test_convert.py read whole ones."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp import gguf, gguf_header

STRING, ARRAY, UINT32 = 8, 9, 4


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def field(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def header(fields: list[bytes], tensors: list[bytes] = (), *, field_count: int = -1, tensor_count: int = -1) -> bytes:
    tensor_count = len(tensors) if tensor_count < 0 else tensor_count
    field_count = len(fields) if field_count < 0 else field_count
    return b"GGUF" + struct.pack("<IQQ", 3, tensor_count, field_count) + b"".join([*fields, *tensors])


NAME = field("general.name", STRING, text("x"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header([field("a", ARRAY, array(STRING, 2**31))]), "claims 2147483648 texts in 'a'"),
        (header([field("a", ARRAY, array(UINT32, 2**31))]), "claims 2147483648 numbers in 'a'"),
        (header([field(gguf.TOKENS, ARRAY, array(STRING, 2**31, text("x") * 9))]), "claims 2147483648 texts"),
        (header([field("a", ARRAY, array(ARRAY, 1, array(ARRAY, 2**31)))]), "an array of the type 9"),
        (header([field("a", STRING, struct.pack("<Q", 2**40) + b"x")]), "a text of 1099511627776 bytes"),
        (header([struct.pack("<Q", 2**63) + b"x" * 9]), "a text of 9223372036854775808 bytes"),
        (header([NAME], field_count=2**31), "claims 2147483648 metadata fields"),
        (header([NAME], tensor_count=2**62), "claims 4611686018427387904 tensors"),
        (header([NAME], [text("w") + struct.pack("<I", 2**31) + b"\0" * 20]), "dimensions of 'w'"),
        (header([NAME], [text("w") + struct.pack("<IQIQ", 1, 2**60, 0, 0)]), "the tensor 'w' ends at byte"),
        (header([NAME], [text("w") + struct.pack("<IQIQ", 1, 1, 0, 2**63)]), "the tensor 'w' ends at byte"),
        (header([NAME, NAME]), "'general.name' twice"),
        (header([field("general.alignment", UINT32, struct.pack("<I", 0))]), "not a power of two"),
        (b"GGUF\x09\0\0\0" + b"\0" * 16, "its version is 9"),
        (b"GG", "it ends at byte 2"),
    ],
)
def test_counts_are_checked_against_the_size_of_the_file(data: bytes, said: str, tmp_path: Path) -> None:
    """A file of 100 bytes that claimed 2**31 items was read until memory was full."""
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=said) as caught:
            gguf.read_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.hint and "a.gguf is not a complete GGUF file" in str(caught.value)


def test_sizes_that_no_model_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    tokens = field(gguf.TOKENS, ARRAY, array(STRING, 1, text("x")))
    for value in (2**31, 2**32 - 1):
        path.write_bytes(header([tokens, field(".embedding_length", UINT32, struct.pack("<I", value))]))
        with pytest.raises(ModelError, match=f"'.embedding_length' is {value}"):
            gguf.read_gguf(path)


def test_a_damaged_file_is_read_once_for_each_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of models asks at each rerun of a page."""
    read: list[Path] = []
    real = gguf_header.read_header
    monkeypatch.setattr(gguf, "read_header", lambda path, arrays: (read.append(path), real(path, arrays))[1])
    path = tmp_path / "a.gguf"
    path.write_bytes(header([NAME], tensor_count=7))
    for _ in range(3):
        with pytest.raises(ModelError, match="claims 7 tensors"):
            gguf.read_gguf(path)
    assert len(read) == 1
    path.write_bytes(header([NAME]) + b"now whole")
    assert gguf.read_gguf(path).name == "x" and len(read) == 2


def test_headers_are_read_as_the_gguf_package_reads_them(tmp_path: Path) -> None:
    """Both byte orders, every scalar type, arrays and quantized tensors."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFWriter

    for order in (GGUFEndian.LITTLE, GGUFEndian.BIG):
        path = tmp_path / f"{order.name}.gguf"
        writer = GGUFWriter(path, "llama", endianess=order)
        scalars = {"u8": 200, "i8": -3, "u16": 60_000, "i16": -300, "u32": 2**32 - 1, "i32": -(2**31), "u64": 2**63}
        for name, value in scalars.items():
            getattr(writer, f"add_{'uint' if name[0] == 'u' else 'int'}{name[1:]}")(name, value)
        writer.add_float32("f32", 0.5)
        writer.add_float64("f64", 0.1)
        writer.add_bool("yes", True)
        writer.add_string("words", "größer")
        writer.add_array("numbers", [1, 2, 3])
        writer.add_array("texts", ["a", "ß", ""])
        writer.add_tensor("w", np.ones((3, 64), np.float32))
        writer.add_tensor("q", np.zeros((2, 34), np.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        ours, theirs = gguf_header.read_header(path, ("numbers", "texts")), GGUFReader(path)
        expected = {key: f.contents() for key, f in theirs.fields.items() if not key.startswith("GGUF.")}
        assert {key: list(v) if isinstance(v, tuple) else v for key, v in ours.fields.items()} == expected
        assert [(t.name, t.n_elements) for t in ours.tensors] == [(t.name, t.n_elements) for t in theirs.tensors]
        assert set(gguf_header.read_header(path).fields) == {*expected} - {"numbers", "texts"}

"""The header of a GGUF file: its metadata and its tensors' sizes. Believes no count: each is checked against the file's size first.

Written here, since `gguf.GGUFReader` makes an object of each array item, as many as the file claims (gguf 0.19: a file of 100 bytes
can ask for 2**31). The file is read, not mapped: one that shrinks meanwhile would end the process.

Source: ggml, docs/gguf.md (versions 2 and 3). Does not know models.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# By the number of their type in the file; struct's letter.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
ALIGNMENT_KEY, ALIGNMENT = "general.alignment", 32
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
# More than in any published file. The largest vocabularies have about 262,000 tokens and twice as many merges.
MAX_FIELDS, MAX_TENSORS, MAX_STRINGS = 2**16, 2**17, 2**21
MAX_TEXT_BYTES = 2**27  # of all metadata that is decoded


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    n_elements: int


@dataclass(frozen=True)
class Header:
    """`fields`: metadata by key. Arrays are tuples; those not asked for have no value and are left out."""

    fields: dict[str, Any]
    tensors: tuple[Tensor, ...]


def read_header(path: Path, arrays: Collection[str] = ()) -> Header:
    """`arrays`: keys of the arrays to keep; the others are skipped.

    Raises:
        ValueError: it is no GGUF file of a version in VERSIONS, or incomplete, or its counts do not fit its size.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _Reader(file, os.fstat(file.fileno()).st_size).header(arrays)


class _Reader:
    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._size, self._at = file, size_bytes, 0
        self._order = "<"
        self._forms: dict[str, struct.Struct] = {}
        self._strings_left, self._text_left = MAX_STRINGS, MAX_TEXT_BYTES

    def header(self, arrays: Collection[str]) -> Header:
        if self._take(4) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = self._take(4)
        self._order = ">" if version[:2] == b"\0\0" else "<"
        self._forms = {letter: struct.Struct(f"{self._order}{letter}") for letter in SCALARS.values()}
        (number,) = struct.unpack(f"{self._order}I", version)
        if number not in VERSIONS:
            raise ValueError(f"its version is {number}, not {' or '.join(map(str, VERSIONS))}")
        tensors, fields = self._number("Q"), self._number("Q")
        self._check(fields, 13, MAX_FIELDS, "metadata fields")
        self._check(tensors, 24, MAX_TENSORS, "tensors")
        found = self._fields(fields, arrays)
        return Header(found, self._tensors(tensors, found.get(ALIGNMENT_KEY, ALIGNMENT)))

    def _fields(self, count: int, arrays: Collection[str]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        seen: set[str] = set()
        for _ in range(count):
            key, kind = self._text(), self._number("I")
            if key in seen:
                raise ValueError(f"it has {key!r} twice")
            seen.add(key)
            if kind == ARRAY:
                values = self._array(key, keep=key in arrays)
                if values is not None:
                    fields[key] = values
            else:
                fields[key] = self._value(key, kind)
        return fields

    def _value(self, key: str, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind not in SCALARS:
            raise ValueError(f"{key!r} has the unknown type {kind}")
        return self._number(SCALARS[kind])

    def _array(self, key: str, *, keep: bool) -> tuple[Any, ...] | None:
        kind, count = self._number("I"), self._number("Q")
        if kind == STRING:
            self._check(count, 8, self._strings_left, f"texts in {key!r}")
            self._strings_left -= count
            if keep:
                return tuple(self._text() for _ in range(count))
            for _ in range(count):
                self._skip(self._number("Q"))
            return None
        if kind not in SCALARS:
            raise ValueError(f"{key!r} is an array of the type {kind}, which no model needs")
        size = self._forms[SCALARS[kind]].size
        self._check(count, size, MAX_STRINGS if keep else self._size, f"numbers in {key!r}")
        if not keep:
            self._skip(count * size)
            return None
        return struct.unpack(f"{self._order}{count}{SCALARS[kind]}", self._take(count * size))

    def _tensors(self, count: int, alignment: Any) -> tuple[Tensor, ...]:
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"{ALIGNMENT_KEY} is {alignment!r}, not a power of two")
        described = [self._tensor() for _ in range(count)]
        begin = math.ceil(self._at / alignment) * alignment
        if len({tensor.name for tensor, _ in described}) < count:
            raise ValueError("two tensors have the same name")
        for tensor, end in described:
            if begin + end > self._size:
                raise ValueError(f"the tensor {tensor.name!r} ends at byte {begin + end}, the file at {self._size}")
        return tuple(tensor for tensor, _ in described)

    def _tensor(self) -> tuple[Tensor, int]:
        """And where its data ends, counted from the begin of all data."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, dimensions = self._text(), self._number("I")
        self._check(dimensions, 8, MAX_DIMENSIONS, f"dimensions of {name!r}")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        kind, offset = self._number("I"), self._number("Q")
        elements = math.prod(shape)
        block_elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]  # ValueError for an unknown type
        return Tensor(name, shape, elements), offset + math.ceil(elements / block_elements) * block_bytes

    def _text(self) -> str:
        count = self._number("Q")
        if count > self._text_left:
            raise ValueError(f"it claims a text of {count} bytes; the limit of all is {MAX_TEXT_BYTES}")
        self._text_left -= count
        return self._take(count).decode("utf-8", "replace")

    def _number(self, letter: str) -> Any:
        """An unpacked scalar; `letter` is struct's."""
        form = self._forms[letter]
        return form.unpack(self._take(form.size))[0]

    def _check(self, count: int, bytes_each: int, most: int, what: str) -> None:
        if count > most or count * bytes_each > self._size - self._at:
            room = self._size - self._at
            raise ValueError(
                f"it claims {count} {what}, more than the {room} bytes that follow can hold, or any model has"
            )

    def _take(self, count: int) -> bytes:
        self._require(count)
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("it shrank while it was read")
        self._at += count
        return data

    def _skip(self, count: int) -> None:
        self._require(count)
        self._at += count
        if count < 4096:  # seeking throws away what was read ahead
            self._file.read(count)
        else:
            self._file.seek(self._at)

    def _require(self, count: int) -> None:
        if count > self._size - self._at:
            raise ValueError(f"it ends at byte {self._size}, within something of {count} bytes")

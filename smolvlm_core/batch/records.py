"""One record for each item of a batch, as a line of JSON. Plain data: does not know files or backends."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from smolvlm_core.fields import MAX_SECONDS, read_object


@dataclass(frozen=True, kw_only=True)
class Record:
    """An item that was asked: answered, or failed with `error` as a sentence.

    Attributes:
        id: of the item, its prompt and its file, under one plan: see `record_id`.
        item: the path; for a member of an archive `archive.zip!name`.
        sha256: of the file; "" where it could not be read.
        size_bytes, modified_ns: of the file or archive, so that an unchanged file need not be read to be known.
        kind: "image" or "video"; "" where it could not be opened.
        frames: of a clip: `timestamp_seconds` and `frame_index` of each that was shown.
        notes: what was lost or changed while decoding.
        fingerprint: of the plan.
        model, weights: the backend's name, and which weights answered.
        data: the answer as JSON, where a schema was asked for and it follows it; else None.
        edited: what a person made of the answer; None where nobody did.
    """

    id: str
    item: str
    prompt: str
    sha256: str = ""
    size_bytes: int = 0
    modified_ns: int = 0
    kind: str = ""
    answer: str = ""
    edited: str | None = None
    data: Any = None
    frames: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    model: str = ""
    weights: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    finished: float = 0.0  # seconds since 1970

    @property
    def failed(self) -> bool:
        """It has an error, and nobody wrote an answer by hand."""
        return bool(self.error) and self.edited is None

    @property
    def text(self) -> str:
        """The answer, or what a person made of it."""
        return self.answer if self.edited is None else self.edited

    def as_line(self) -> str:
        """JSON without a line end."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Record:
        """Fields that this version does not know are left out; those with wrong values take their defaults.

        Raises:
            ValueError, RecursionError: it is no record.
        """
        record = read_object(cls, json.loads(line))
        return record if 0 <= record.finished <= MAX_SECONDS else replace(record, finished=0.0)


def record_id(item: str, prompt: str, sha256: str, fingerprint: str) -> str:
    """Names an answer: of this file as it is now, to this prompt, under this plan. 32 hexadecimal digits."""
    return hashlib.sha256("\0".join((item, prompt, sha256, fingerprint)).encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]

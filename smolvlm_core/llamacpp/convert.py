"""Runs the converter (text model, projector, Q8_0) and quantizes further with llama-quantize.

A file gets its final name only when it is complete. A record beside the files says what each was converted from: they are
reused for the same weights and converted again for others.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from smolvlm_core.errors import ModelError, StoreError
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import read_json, set_aside, sweep, temporary_folder, write_json
from smolvlm_core.llamacpp.programs import find_quantizer
from smolvlm_core.llamacpp.repair import Staged, stage
from smolvlm_core.llamacpp.server import KEEPER
from smolvlm_core.models.catalog import ModelSpec, from_folder
from smolvlm_core.models.machine import GIB
from smolvlm_core.work.report import Report

logger = logging.getLogger(__name__)
# File size in bytes a parameter, for the space needed; llama.cpp's own names.
QUANTIZATIONS = {
    "Q8_0": 1.07,
    "Q6_K": 0.83,
    "Q5_K_M": 0.72,
    "Q5_0": 0.69,
    "Q4_K_M": 0.62,
    "Q4_0": 0.57,
    "Q3_K_M": 0.5,
    "Q2_K": 0.42,
}
BY_CONVERTER = ("Q8_0",)  # the same bytes as from llama-quantize, without needing it
PROJECTOR_TYPES = {"f16": 2.0, "q8_0": 1.07}


@dataclass(frozen=True)
class ConvertedFile:
    path: Path
    what: str
    reused: bool  # finished in an earlier run


@dataclass
class Conversion:
    """`texts`: the F16 text model first, then its quantizations, in the order asked for."""

    checkpoint: Path
    spec: ModelSpec
    texts: list[ConvertedFile]
    projector: ConvertedFile
    notes: list[str]


def convert(
    checkpoint: Path,
    out: Path,
    quantizations: Sequence[str] = (),
    projector: str = "f16",
    report: Report | None = None,
    name: str = "",
) -> Conversion:
    """Create `NAME-F16.gguf`, `mmproj-NAME-F16.gguf` (or Q8_0) and `NAME-<quantization>.gguf` in `out`.

    Finished files of the same checkpoint are reused. NAME is its folder's unless given. Nothing is written to the
    checkpoint's folder, and files that were not created here are not overwritten.

    Raises:
        ModelError: no SmolVLM2 checkpoint, an unknown type, too little disk space, no llama-quantize for a type that needs it,
            or the converter failed.
    """
    wanted = [q.upper() for q in quantizations]
    for quantization in wanted:
        if quantization not in QUANTIZATIONS:
            raise ModelError(f"{quantization} is not a known quantization.", f"Use one of {', '.join(QUANTIZATIONS)}.")
    if projector not in PROJECTOR_TYPES:
        raise ModelError(f"{projector} is not a projector type.", f"Use one of {', '.join(PROJECTOR_TYPES)}.")
    if not checkpoint.is_dir():
        raise ModelError(f"{checkpoint} is not a folder.", "Give the folder of a SmolVLM2 checkpoint.")
    for quantization in wanted:
        if quantization not in BY_CONVERTER:
            find_quantizer(quantization)  # fail now rather than after the conversion
    tell = report or (lambda text, share: None)
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _Run(checkpoint.resolve(), name or checkpoint.resolve().name, out, tell).all(wanted, projector)
    except OSError as error:
        raise ModelError(f"Writing to {out} failed: {error}.", "Choose another folder, or free some space.") from error


class _Run:
    def __init__(self, checkpoint: Path, name: str, out: Path, report: Report) -> None:
        self.checkpoint, self.out, self.report = checkpoint, out, report
        self.name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
        self.record = _Record.read(out / f"{self.name}.conversion.json", str(checkpoint))
        self.identity = identity_of(checkpoint)
        self.parameters = 0
        self.notes: list[str] = []

    def all(self, quantizations: Sequence[str], projector: str) -> Conversion:
        text = self.out / f"{self.name}-F16.gguf"
        eyes = self.out / f"mmproj-{self.name}-{projector.upper()}.gguf"
        smaller = [(q, self.out / f"{self.name}-{q}.gguf") for q in quantizations]
        wanted = [text, eyes, *(path for _, path in smaller)]
        self._refuse_strangers(wanted)
        # In a folder of its own, so that no half-written file has a final name and two runs do not meet.
        sweep(self.out, "convert")
        with temporary_folder(self.out, "convert") as self.work:
            staged = stage(self.checkpoint, self.work / self.name)
            spec = from_folder(staged.folder)
            self.parameters = spec.parameters
            self._check_space(wanted)
            self.notes = [*staged.notes]
            texts = [self._make(text, "text model F16", partial(self._converted, staged, "f16", ()))]
            work = partial(self._converted, staged, projector, ("--mmproj",))
            projector_file = self._make(eyes, f"projector {projector.upper()}", work)
            for name, path in smaller:
                if name in BY_CONVERTER:
                    work = partial(self._converted, staged, name.lower(), ())
                else:
                    work = partial(self._quantized, text, name)
                texts.append(self._make(path, f"text model {name}", work))
        self.notes += [
            f"{name} was converted from other weights and left as it is. Ask for it to convert it again"
            for name, source in self.record.files.items()
            if source != self.identity and (self.out / name).exists()
        ]
        return Conversion(self.checkpoint, spec, texts, projector_file, self.notes)

    def _refuse_strangers(self, files: Sequence[Path]) -> None:
        """Files of these names that were not created here, or are of another checkpoint, are not overwritten."""
        for path in files:
            if path.exists() and path.name not in self.record.files:
                raise ModelError(
                    f"{path} exists and was not created by this conversion.", "Choose another folder, or move the file."
                )
        if self.record.files and self.record.checkpoint != str(self.checkpoint):
            raise ModelError(
                f"{self.out} holds files of the same name, converted from {self.record.checkpoint}.",
                "Choose another folder.",
            )

    def _is_reusable(self, path: Path) -> bool:
        return path.exists() and self.record.files.get(path.name) == self.identity

    def _check_space(self, files: Sequence[Path]) -> None:
        needed = sum(self._size_of(path) for path in files if not self._is_reusable(path))
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise ModelError(
                f"The files need about {needed / GIB:.1f} GiB and {self.out} has {free / GIB:.1f} GiB free.",
                "Free some space, choose another folder, or ask for fewer quantizations.",
            )

    def _size_of(self, path: Path) -> int:
        kind = path.name.removesuffix(".gguf").rsplit("-", 1)[1]
        share = {**QUANTIZATIONS, "F16": 2.0}[kind]
        return int(self.parameters * share) + 2**20

    def _make(self, path: Path, what: str, work: Callable[[Path], None]) -> ConvertedFile:
        if self._is_reusable(path):
            self.report(f"{what}: reused", 1.0)
            return ConvertedFile(path, what, True)
        if path.exists():
            self.notes.append(f"{path.name} was converted from other weights: converted again")
        part = self.work / path.name
        work(part)
        part.replace(path)
        self.record.add(path.name, self.identity)
        return ConvertedFile(path, what, False)

    def _converted(self, staged: Staged, kind: str, flags: tuple[str, ...], to: Path) -> None:
        what = "Converting the projector" if flags else "Converting the text model"
        command = [
            sys.executable,
            "-m",
            "smolvlm_core.llamacpp.convert_runner",
            staged.pre_tokenizer or "-",
            str(staged.folder),
        ]
        command += ["--outfile", str(to), "--outtype", kind, "--model-name", self.name, *flags]
        said = self._run(command, what, re.compile(r"Writing:\s+(\d+)%"))
        note = (
            "The converter does not know this tokenizer; its pre-tokenizer is SmolLM2's (single digits, then "
            f"bytes), so it is named {staged.pre_tokenizer!r}"
        )
        if "PRE-TOKENIZER" in said and note not in self.notes:
            self.notes.append(note)
        if not to.exists():
            raise ModelError(f"{what} created no file: {_last_line(said)}", "The checkpoint may be incomplete.")

    def _quantized(self, source: Path, name: str, to: Path) -> None:
        said = self._run(
            [str(find_quantizer(name)), str(source), str(to), name],
            f"Quantizing to {name}",
            re.compile(r"\[\s*(\d+)/\s*(\d+)\]"),
        )
        fallback = re.search(r"(\d+ of \d+ tensor\(s\) required fallback quantization)", said)
        if fallback:
            self.notes.append(f"{name}: {fallback[1]} (their rows cannot be split into blocks of 256)")

    def _run(self, command: Sequence[str], what: str, measure: re.Pattern[str]) -> str:
        """Its output. Raises ModelError with the line that says most, where it failed."""
        self.report(what, None)
        kept = [sys.executable, str(KEEPER), *command]  # ends with this process, however it ends
        with subprocess.Popen(kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            said = []
            try:
                for line in _lines(process.stdout):
                    said.append(line)
                    if (found := measure.search(line)) is not None:
                        of = found[2] if measure.groups > 1 else 100
                        self.report(what, int(found[1]) / int(of))
            except BaseException:
                process.terminate()
                raise
        text = "\n".join(said)
        if process.returncode:
            raise ModelError(
                f"{what} failed: {_last_line(text)}", "Check that the checkpoint is complete and unchanged."
            )
        return text


@dataclass(frozen=True, kw_only=True)
class _Stored:
    checkpoint: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass
class _Record:
    """Which files were created here, each with the identity of its source. Stored beside them."""

    path: Path
    checkpoint: str
    files: dict[str, str]

    @classmethod
    def read(cls, path: Path, checkpoint: str) -> _Record:
        """A damaged one is moved aside: the files are then converted again. Raises StoreError."""
        try:
            stored = read_object(_Stored, read_json(path, {"checkpoint": checkpoint}))
        except (StoreError, FieldError) as error:
            if isinstance(error.__cause__, OSError):
                raise
            logger.warning("%s is damaged: %s. It is now %s", path, error, set_aside(path).name)
            stored = _Stored(checkpoint=checkpoint)
        return cls(path, stored.checkpoint, stored.files)

    def add(self, name: str, identity: str) -> None:
        self.files[name] = identity
        write_json(self.path, {"checkpoint": self.checkpoint, "files": self.files})


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines, and the states of a progress bar, which end in a carriage return."""
    held = b""
    while chunk := stream.read1(65536):  # type: ignore[attr-defined]
        *whole, held = re.split(rb"[\r\n]", held + chunk)
        yield from (line.decode(errors="replace") for line in whole)
    yield held.decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|exception|not supported|failed", line, re.IGNORECASE)]
    return ([*lines, *telling] or ["it said nothing"])[-1][:300]


def identity_of(checkpoint: Path) -> str:
    """Of the files a conversion depends on: small ones by content, weights by size and time of change."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint.iterdir()):
        if path.suffix == ".safetensors":
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        elif path.suffix in (".json", ".txt", ".model", ".jinja"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()

"""Runs the converter twice (text model, projector), quantizes, and keeps what is finished.

A file gets its final name only when it is whole. Which checkpoint the files were made of is kept beside them: they are
reused for the same one, made anew for a changed one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from smolvlm_core.catalog import ModelSpec, from_folder
from smolvlm_core.convert.mends import Staged, stage
from smolvlm_core.errors import ModelError
from smolvlm_core.llama_programs import find_quantizer
from smolvlm_core.machine import GIB

Report = Callable[[str, float | None], None]
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
PROJECTOR_TYPES = {"f16": 2.0, "q8_0": 1.07}


@dataclass(frozen=True)
class Made:
    path: Path
    what: str
    kept: bool  # it was there, finished, from an earlier run


@dataclass
class Conversion:
    """`texts`: the F16 text model first, then its quantizations, in the order asked for."""

    checkpoint: Path
    texts: list[Made] = field(default_factory=list)
    projector: Made | None = None
    told: list[str] = field(default_factory=list)


def convert(
    checkpoint: Path, out: Path, quantizations: Sequence[str] = (), projector: str = "f16", report: Report | None = None
) -> Conversion:
    """Make `NAME-F16.gguf`, `mmproj-NAME-F16.gguf` (or Q8_0) and `NAME-<quantization>.gguf` in `out`.

    Finished files of the same checkpoint are kept. The checkpoint's folder is not written to.

    Raises:
        ModelError: no SmolVLM2 checkpoint, an unknown type, too little disk space, or the converter failed.
    """
    wanted = [q.upper() for q in quantizations]
    for name in wanted:
        if name not in QUANTIZATIONS:
            raise ModelError(f"{name} is not a known quantization.", f"Use one of {', '.join(QUANTIZATIONS)}.")
    if projector not in PROJECTOR_TYPES:
        raise ModelError(f"{projector} is not a projector type.", f"Use one of {', '.join(PROJECTOR_TYPES)}.")
    spec = from_folder(checkpoint)
    if wanted:
        find_quantizer()  # better told now than after the conversion
    tell = report or (lambda text, share: None)
    out.mkdir(parents=True, exist_ok=True)
    return _Run(spec, checkpoint.resolve(), out, tell).all(wanted, projector)


class _Run:
    def __init__(self, spec: ModelSpec, checkpoint: Path, out: Path, report: Report) -> None:
        self.spec, self.checkpoint, self.out, self.report = spec, checkpoint, out, report
        self.name = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.name).strip("-.") or "model"
        self.record = out / f"{self.name}.conversion.json"
        self.identity = identity_of(checkpoint)
        self.done = Conversion(checkpoint)

    def all(self, quantizations: Sequence[str], projector: str) -> Conversion:
        text = self.out / f"{self.name}-F16.gguf"
        eyes = self.out / f"mmproj-{self.name}-{projector.upper()}.gguf"
        smaller = [(q, self.out / f"{self.name}-{q}.gguf") for q in quantizations]
        self._forget_others()
        for left in self.out.glob(f"*{self.name}-*.gguf.part"):
            left.unlink()  # of a run that was broken off
        self._check_space([text, eyes, *(path for _, path in smaller)])
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=self.out) as folder:
            staged = stage(self.checkpoint, Path(folder) / self.name)
            self.done.told += staged.told
            self.done.texts.append(self._make(text, "text model F16", partial(self._converted, staged, "f16", ())))
            work = partial(self._converted, staged, projector, ("--mmproj",))
            self.done.projector = self._make(eyes, f"projector {projector.upper()}", work)
        for name, path in smaller:
            self.done.texts.append(self._make(path, f"text model {name}", partial(self._quantized, text, name)))
        return self.done

    def _forget_others(self) -> None:
        """Files made of another checkpoint, or of this one before it changed, are not taken for its own."""
        try:
            known = json.loads(self.record.read_text())["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError):
            known = None
        if known == self.identity:
            return
        mine = (*self.out.glob(f"{self.name}-*.gguf"), *self.out.glob(f"mmproj-{self.name}-*.gguf"))
        for stale in mine:
            stale.unlink()
            self.done.told.append(f"{stale.name} was made of other weights: made anew")
        self.record.write_text(json.dumps({"checkpoint": self.identity, "folder": str(self.checkpoint)}, indent=1))

    def _check_space(self, files: Sequence[Path]) -> None:
        needed = sum(self._size_of(path) for path in files if not path.exists())
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise ModelError(
                f"The files need about {needed / GIB:.1f} GiB and {self.out} has {free / GIB:.1f} GiB free.",
                "Free some space, choose another folder, or ask for fewer quantizations.",
            )

    def _size_of(self, path: Path) -> int:
        kind = path.name.removesuffix(".gguf").rsplit("-", 1)[1]
        share = {**QUANTIZATIONS, "F16": 2.0}[kind]
        return int(self.spec.parameters * share) + 2**20

    def _make(self, path: Path, what: str, work: Callable[[Path], None]) -> Made:
        if path.exists():
            self.report(f"{what}: there already", 1.0)
            return Made(path, what, True)
        part = path.with_name(f"{path.name}.part")
        try:
            work(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return Made(path, what, False)

    def _converted(self, staged: Staged, kind: str, flags: tuple[str, ...], to: Path) -> None:
        what = "Converting the projector" if flags else "Converting the text model"
        command = [sys.executable, "-m", "smolvlm_core.convert.runner", staged.pre_tokenizer or "-", str(staged.folder)]
        command += ["--outfile", str(to), "--outtype", kind, "--model-name", self.name, *flags]
        said = self._run(command, what, re.compile(r"Writing:\s+(\d+)%"))
        if "PRE-TOKENIZER" in said:
            self.done.told.append(
                "The converter does not know this tokenizer; its pre-tokenizer is SmolLM2's (single digits, then "
                f"bytes), so it is named {staged.pre_tokenizer!r}"
            )
        if not to.exists():
            raise ModelError(f"{what} made no file: {_last_line(said)}", "The checkpoint may be incomplete.")

    def _quantized(self, source: Path, name: str, to: Path) -> None:
        said = self._run(
            [str(find_quantizer()), str(source), str(to), name],
            f"Quantizing to {name}",
            re.compile(r"\[\s*(\d+)/\s*(\d+)\]"),
        )
        fallback = re.search(r"(\d+ of \d+ tensor\(s\) required fallback quantization)", said)
        if fallback:
            self.done.told.append(f"{name}: {fallback[1]} (their rows cannot be cut into blocks of 256)")

    def _run(self, command: Sequence[str], what: str, measure: re.Pattern[str]) -> str:
        """All it said. Raises ModelError, with the last line that tells something, where it failed."""
        self.report(what, None)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            said = []
            try:
                for line in _lines(process.stdout):
                    said.append(line)
                    if (found := measure.search(line)) is not None:
                        of = found[2] if measure.groups > 1 else 100
                        self.report(what, int(found[1]) / int(of))
            except BaseException:
                process.kill()
                raise
        text = "\n".join(said)
        if process.returncode:
            raise ModelError(
                f"{what} failed: {_last_line(text)}", "Check that the checkpoint is complete and unchanged."
            )
        return text


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

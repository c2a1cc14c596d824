"""From a checkpoint to GGUF files that are verified, registered and checked. Registering and checking are handed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.convert import Conversion, convert
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.verify import verify_pair
from smolvlm_core.models import catalog
from smolvlm_core.models.download import local_folder
from smolvlm_core.paths import default_gguf_folder
from smolvlm_core.work.report import Report

PREFIX = "convert "  # of the names of conversion jobs
R = TypeVar("R")
C = TypeVar("C")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine. `name`: of the files made from it."""

    folder: Path
    name: str

    @property
    def default_output(self) -> Path:
        return default_gguf_folder(self.folder, self.name)


def find_checkpoint(name: str) -> Checkpoint:
    """A checkpoint folder, or a model of the catalogue by its key, downloaded where needed. Raises ModelError."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Checkpoint(folder, folder.resolve().name)
    spec = catalog.find(name)
    return Checkpoint(local_folder(spec), spec.key)


@dataclass
class Build(Generic[R, C]):
    """`registered` and `checked`: what `register` and `check` returned for each text model, in the order of `conversion.texts`."""

    conversion: Conversion
    findings: list[Finding]
    registered: list[R] = field(default_factory=list)
    checked: list[C] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What is wrong or doubtful about the files, then what was repaired on the way."""
        return [f"{finding.what}." for finding in self.findings if finding.level != "ok"] + self.conversion.notes


def build(
    checkpoint: Checkpoint,
    out: Path,
    *,
    quantizations: Sequence[str] = (),
    projector_type: str = "f16",
    report: Report = lambda text, share: None,
    register: Callable[[Path, Path], R] | None = None,
    check: Callable[[R], C] | None = None,
    cancel: threading.Event | None = None,
) -> Build[R, C]:
    """Convert, verify, register and check, in this order. Finished files are reused.

    Args:
        register: gets the text model's file and the projector's, once for each text model.
        check: gets what `register` returned.
        cancel: stops the conversion at its next sign of progress. Nothing is registered then.

    Raises:
        LensError: the conversion failed or was stopped, or what was handed in raised it.
    """
    stopped = cancel or threading.Event()

    def report_unless_stopped(text: str, share: float | None) -> None:
        if stopped.is_set():
            raise LensError("The conversion was stopped.", "Files that were finished are reused next time.")
        report(text, share)

    conversion = convert(checkpoint.folder, out, quantizations, projector_type, report_unless_stopped, checkpoint.name)
    report_unless_stopped("Verifying", None)
    result: Build[R, C] = Build(conversion, _verify(conversion))
    if register is not None:
        result.registered = [register(text.path, conversion.projector.path) for text in conversion.texts]
    if check is not None:
        result.checked = [check(item) for item in result.registered]
    return result


def _verify(conversion: Conversion) -> list[Finding]:
    """All findings on the first pair; of the quantized text models, what is not right."""
    first, *others = conversion.texts
    projector, source, spec = conversion.projector.path, conversion.checkpoint, conversion.spec
    findings = verify_pair(first.path, projector, source, spec)
    for text in others:
        wrong = [f for f in verify_pair(text.path, projector, source, spec) if f.level != "ok" and f not in findings]
        findings += [replace(finding, what=f"{text.path.name}: {finding.what}") for finding in wrong]
    return findings

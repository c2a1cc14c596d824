"""From a checkpoint to GGUF files that are verified, registered and checked. Registering and checking are handed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from smolvlm_core.llamacpp.convert import Conversion, convert
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.verify import verify_pair
from smolvlm_core.models import catalog
from smolvlm_core.models.download import Report, local_folder
from smolvlm_core.paths import default_gguf_folder

PREFIX = "convert "  # of the names of conversion jobs
R = TypeVar("R")


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
class Build(Generic[R]):
    """`registered`: what `register` returned for each text model, in the order of `conversion.texts`."""

    conversion: Conversion
    findings: list[Finding]
    registered: list[R] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What is wrong with the files, then what was repaired on the way."""
        return [f"{f.what}." for f in self.findings if f.level == "error"] + self.conversion.notes


def build(
    checkpoint: Checkpoint,
    out: Path,
    *,
    quantizations: Sequence[str] = (),
    projector_type: str = "f16",
    report: Report | None = None,
    register: Callable[[Path, Path], R] | None = None,
    check: Callable[[R], object] | None = None,
    cancel: threading.Event | None = None,
) -> Build[R]:
    """Convert, verify, register and check, in this order. Finished files are reused.

    Args:
        register: gets the text model's file and the projector's, once for each text model.
        check: gets what `register` returned.
        cancel: heard between the steps.

    Raises:
        LensError: the conversion failed, or what was handed in raised it.
    """
    conversion = convert(checkpoint.folder, out, quantizations, projector_type, report, checkpoint.name)
    assert conversion.projector is not None
    projector = conversion.projector.path
    findings = verify_pair(conversion.texts[0].path, projector, checkpoint.folder, conversion.spec)
    result: Build[R] = Build(conversion, findings)
    if register is not None:
        result.registered = [register(text.path, projector) for text in conversion.texts]
    for item in result.registered:
        if check is not None and not (cancel is not None and cancel.is_set()):
            check(item)
    return result

"""Which vision encoder runs a model on this machine: the fastest of those whose features agree with torch's.

Tried once, on one tile of the first picture, and remembered. Knows encoders; not prompts.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from smolvlm_core.engine.vision import openvino
from smolvlm_core.engine.vision.encoder import TORCH, TorchEncoder, VisionEncoder, short_dtype, torch_name
from smolvlm_core.engine.vision.openvino import Precision
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import Remembered
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.models.machine import installed_version
from smolvlm_core.paths import data_folder
from smolvlm_core.work.report import Report

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
AGREES_FROM = 0.999  # cosine similarity of all features of one tile with torch's
SMALL_PARAMETERS = 20_000_000  # of the vision tower: torch takes some milliseconds, trying others takes seconds
TIMED_RUNS = 2
AUTOMATIC = "automatic"
_rows = Remembered(lambda: data_folder() / "vision-encoders.json")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One encoder on this machine. `agreement`: cosine similarity with torch's features. `problem`: why it cannot run."""

    name: str
    seconds_per_tile: float = 0.0
    agreement: float = 0.0
    problem: str = ""

    @property
    def agrees(self) -> bool:
        return not self.problem and self.agreement >= AGREES_FROM

    def describe(self) -> str:
        if self.problem:
            return f"{self.name}: does not run here ({self.problem})"
        differs = "" if self.agrees else f", its features differ (cosine {self.agreement:.4f})"
        return f"{self.name}: {describe_seconds(self.seconds_per_tile)} a tile{differs}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The encoder that runs, by name, and what was tried. `wanted`: by the user, or AUTOMATIC."""

    name: str
    trials: tuple[Trial, ...] = field(default=())
    wanted: str = AUTOMATIC

    def describe(self) -> str:
        """One line for people."""
        by_name = {trial.name: trial for trial in self.trials}
        chosen = by_name.get(self.name)
        line = f"Pictures: {self.name}"
        if chosen is not None:
            line += f", {describe_seconds(chosen.seconds_per_tile)} a tile"
        others = [trial.describe() for trial in self.trials if trial.name != self.name]
        return f"{line} ({'; '.join(others)})" if others else line


def describe_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"


def remembered(loaded: LoadedModel) -> Choice | None:
    """The encoder for a loaded model, where it is plain or was found before; None where encoders must be tried."""
    if (name := wanted(loaded)) != AUTOMATIC:
        return Choice(name=name if name in offered(loaded) else torch_name(loaded), wanted=name)
    if len(offered(loaded)) == 1 or _is_small(loaded):
        return Choice(name=torch_name(loaded))
    return _parse(_rows.get(_key(loaded)))


def choose(loaded: LoadedModel, tiles: Sequence[torch.Tensor], report: Report) -> tuple[VisionEncoder, Choice]:
    """The encoder to use for a loaded model: the one remembered, or the best of those that are tried now.

    Args:
        tiles: (3, H, W) tiles to try encoders on, and to calibrate int8 on.
    """
    torch_encoder = TorchEncoder(loaded)
    known = remembered(loaded)
    if known is not None and known.name == torch_encoder.name:
        return torch_encoder, known
    if known is not None:
        try:
            report(f"Preparing the vision encoder: {known.name}", None)
            return openvino.prepare(loaded, _precision(known.name), tiles), known
        except Exception as error:  # another version of OpenVINO, a damaged file
            logger.warning("%s cannot be used: %s", known.name, error)
            if known.wanted != AUTOMATIC:
                return torch_encoder, replace(known, name=torch_encoder.name)
    encoder, choice = _try_all(loaded, torch_encoder, tiles, report)
    _rows.put(_key(loaded), {"name": choice.name, "trials": [asdict(trial) for trial in choice.trials]})
    return encoder, choice


def offered(loaded: LoadedModel) -> list[str]:
    """Names of the encoders that this machine could run for a model."""
    dtype = short_dtype(loaded.model.dtype)
    names = [f"{TORCH} {dtype}"]
    if loaded.device == "cpu" and dtype == "bf16" and openvino.is_installed():  # float32 is chosen for exactness
        names.append(f"{openvino.NAME} bf16")
        if openvino.can_quantize():
            names.append(f"{openvino.NAME} int8")
    return names


def _is_small(loaded: LoadedModel) -> bool:
    tower = loaded.model.model.vision_model
    return bool(sum(weights.numel() for weights in tower.parameters()) < SMALL_PARAMETERS)


def wanted(loaded: LoadedModel) -> str:
    """The encoder that was chosen for a model, or AUTOMATIC."""
    return str(_rows.get(f"wanted {_key(loaded)}") or AUTOMATIC)


def want(loaded: LoadedModel, name: str) -> None:
    """Set the encoder of a model by name, or AUTOMATIC. Raises StoreError."""
    _rows.store(f"wanted {_key(loaded)}", name)


def _try_all(
    loaded: LoadedModel, torch_encoder: TorchEncoder, tiles: Sequence[torch.Tensor], report: Report
) -> tuple[VisionEncoder, Choice]:
    report("Trying vision encoders (once for each model)", None)
    tile = tiles[0].unsqueeze(0)
    reference, seconds = _timed(torch_encoder, tile)
    trials = [Trial(name=torch_encoder.name, seconds_per_tile=seconds, agreement=1.0)]
    encoder, trial = _try(loaded, tile, reference)
    trials.append(trial)
    if encoder is not None and trial.agrees and trial.seconds_per_tile < seconds:
        return encoder, Choice(name=encoder.name, trials=tuple(trials))
    return torch_encoder, Choice(name=torch_encoder.name, trials=tuple(trials))


def _try(loaded: LoadedModel, tile: torch.Tensor, reference: torch.Tensor) -> tuple[VisionEncoder | None, Trial]:
    """Prepare OpenVINO's encoder and time it; None where it does not run here. `reference`: torch's features of the tile."""
    name = f"{openvino.NAME} bf16"
    try:
        encoder = openvino.prepare(loaded, "bf16", tile)
        features, seconds = _timed(encoder, tile)
    except Exception as error:
        logger.warning("%s does not run here", name, exc_info=True)
        said = str(error).strip().splitlines() or [repr(error)]
        return None, Trial(name=name, problem=said[0][:200])
    return encoder, Trial(name=name, seconds_per_tile=seconds, agreement=agreement(features, reference))


def _timed(encoder: VisionEncoder, tile: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Features, and the best of some runs after one that warms up."""
    features, best = encoder.encode(tile), float("inf")
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        encoder.encode(tile)
        best = min(best, time.perf_counter() - began)
    return features, best


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """The cosine similarity of two encoders' features of one tile."""
    import torch

    one, other = (features.detach().float().flatten() for features in (a, b))
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


def _precision(name: str) -> Precision:
    return "int8" if name.endswith("int8") else "bf16"


def _key(loaded: LoadedModel) -> str:
    """What a trial holds for: these weights in this dtype, on this CPU, with these versions."""
    versions = f"{installed_version('torch')} {installed_version('openvino')}"
    machine = f"{platform.processor() or platform.machine()} {versions}"
    whole = f"{loaded.weights_key} {loaded.model.dtype} {machine}"
    return hashlib.sha256(whole.encode()).hexdigest()[:24]


def _parse(row: object) -> Choice | None:
    if not isinstance(row, dict):
        return None
    try:
        return read_object(Choice, row)
    except FieldError as error:
        logger.warning("a stored choice of vision encoder cannot be read: %s", error)
        return None  # it is found out again

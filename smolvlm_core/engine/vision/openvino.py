"""The vision encoder in OpenVINO: converted from the loaded model once, kept on disk, compiled for this CPU at each start.

Knows the tower's modules and files. Does not choose between encoders. OpenVINO is imported inside functions: it is large, and
machines with a GPU never need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from smolvlm_core.files import temporary_folder
from smolvlm_core.models.load import DEFAULT_DTYPE, LoadedModel
from smolvlm_core.paths import GALLERY, data_folder

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
Precision = Literal["bf16", "int8"]
NAME = "OpenVINO"
CALIBRATION_TILES = 24  # int8 is calibrated on at most as many tiles
MODEL_FILE = "encoder.xml"


def is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def can_quantize() -> bool:
    """Whether the package that makes int8 encoders is installed."""
    return importlib.util.find_spec("nncf") is not None


class OpenVinoEncoder:
    """A compiled encoder for one tile at a time: see `encoder.VisionEncoder`."""

    def __init__(self, path: Path, precision: Precision) -> None:
        import openvino

        self.name = f"{NAME} {precision}"
        options = {
            "INFERENCE_PRECISION_HINT": "bf16",  # of int8 too: what is not quantized
            "INFERENCE_NUM_THREADS": os.cpu_count() or 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = openvino.Core().compile_model(path, "CPU", options)  # keeps the core alive
        self._request = self._compiled.create_infer_request()

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        features = [torch.from_numpy(self._request.infer([tile.unsqueeze(0).numpy()])[0].copy()) for tile in pixels]
        return torch.cat(features).bfloat16()  # the models that it is used for are in bf16


def prepare(loaded: LoadedModel, precision: Precision, calibration: Sequence[torch.Tensor]) -> OpenVinoEncoder:
    """The encoder of a loaded model in one precision, converted first where its file is not on disk.

    Args:
        calibration: (3, H, W) tiles that int8 is calibrated on, besides those of the project's samples.

    Raises:
        Exception: of many kinds, from OpenVINO: this machine or model is not one that it can run.
    """
    folder = _folder(loaded, precision)
    if not (folder / MODEL_FILE).is_file():
        _save(_quantized(loaded, calibration) if precision == "int8" else _converted(loaded), folder)
    try:
        return OpenVinoEncoder(folder / MODEL_FILE, precision)
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or of another version: converted again next time
        raise


def is_converted(loaded: LoadedModel, precision: Precision) -> bool:
    return (_folder(loaded, precision) / MODEL_FILE).is_file()


def _folder(loaded: LoadedModel, precision: Precision) -> Path:
    import openvino

    name = hashlib.sha256(f"{loaded.weights_key} {precision} {openvino.get_version()}".encode()).hexdigest()[:16]
    return data_folder() / "encoders" / name


def _converted(loaded: LoadedModel) -> Any:
    """The tower and the connector, for one tile of a fixed size, as an OpenVINO model."""
    import openvino
    import torch

    config = loaded.model.config.vision_config
    shape = (1, 3, config.image_size, config.image_size)
    with DEFAULT_DTYPE, torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that becomes a constant: all of them are
        tower = _tower(loaded)
        return openvino.convert_model(tower, example_input=torch.zeros(shape), input=[list(shape)])


def _tower(loaded: LoadedModel) -> torch.nn.Module:
    """A float32 copy of the vision model and the connector, as one module of a tile's pixels."""
    import copy

    import torch

    core, config = loaded.model.model, loaded.model.config.vision_config
    side = config.image_size // config.patch_size

    class Tower(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.vision = copy.deepcopy(core.vision_model).float()
            self.connector = copy.deepcopy(core.connector).float()

        def forward(self, pixels: torch.Tensor) -> Any:
            mask = torch.ones(1, side, side, dtype=torch.bool)
            seen = self.vision(pixel_values=pixels, patch_attention_mask=mask).last_hidden_state
            return self.connector(seen)

    return Tower().eval()


def _quantized(loaded: LoadedModel, tiles: Sequence[torch.Tensor]) -> Any:
    import nncf  # type: ignore[import-not-found, unused-ignore]

    nncf.set_log_level(logging.ERROR)
    shown = [*tiles, *_sample_tiles(loaded)][:CALIBRATION_TILES]
    dataset = nncf.Dataset([tile.unsqueeze(0).numpy() for tile in shown])
    return nncf.quantize(
        _converted(loaded), dataset, subset_size=CALIBRATION_TILES, model_type=nncf.ModelType.TRANSFORMER
    )


def _sample_tiles(loaded: LoadedModel) -> Iterator[torch.Tensor]:
    """Tiles of the pictures that come with the project: the first of each, then the second, and so on."""
    pictures = []
    for path in sorted(GALLERY.glob("*.png")):
        with Image.open(path) as picture:
            made = loaded.image_processor(
                images=[[picture.convert("RGB")]], do_image_splitting=True, return_tensors="pt"
            )
        pictures.append(made["pixel_values"][0])
    for tiles in itertools.zip_longest(*pictures):
        yield from (tile for tile in tiles if tile is not None)


def _save(model: Any, folder: Path) -> None:
    """In one step, so that a crash leaves no half of an encoder."""
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder.parent, folder.name) as temporary:
        openvino.save_model(model, temporary / MODEL_FILE, compress_to_fp16=True)
        with contextlib.suppress(OSError):  # another process was faster
            os.replace(temporary, folder)

"""The contract of a vision encoder, and the one that every machine has: torch. Knows tiles; not pictures, prompts or files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from smolvlm_core.models.load import DEFAULT_DTYPE, LoadedModel

if TYPE_CHECKING:
    import torch

TILES_AT_ONCE = {"cpu": 1, "mps": 4, "cuda": 16}  # in one call
TORCH = "torch"


class VisionEncoder(Protocol):
    """SmolVLM2's vision tower and connector.

    Attributes:
        name: of the runtime and its precision, for people; also part of the key of cached features.
    """

    name: str

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) normalised pixels → (n, tokens per tile, hidden) features, on the CPU or the model's device."""
        ...


class TorchEncoder:
    """The model's own encoder, as transformers runs it, on the model's device and in its dtype."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self.name = torch_name(loaded)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        with DEFAULT_DTYPE:
            out = self._model.model.get_image_features(
                pixel_values=pixels.unsqueeze(0).to(self._model.device), return_dict=True
            ).pooler_output
        flat = out[0] if isinstance(out, list | tuple) and len(out) == 1 else out
        return _stacked(flat, len(pixels))


def torch_name(loaded: LoadedModel) -> str:
    return f"{TORCH} {short_dtype(loaded.model.dtype)}"


def _stacked(features: Any, count: int) -> torch.Tensor:
    import torch

    whole = torch.cat(list(features)) if isinstance(features, list | tuple) else features
    return whole.reshape(count, -1, whole.shape[-1])


def short_dtype(dtype: object) -> str:
    return {"torch.bfloat16": "bf16", "torch.float32": "fp32", "torch.float16": "fp16"}.get(str(dtype), str(dtype))

"""Which models exist, what each costs, and which one suits this machine. Does not know how to load one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from smolvlm_core.errors import ModelError
from smolvlm_core.models.config import check_configs, read_json, weights_in
from smolvlm_core.models.machine import GIB, Machine
from smolvlm_core.models.memory import ModelShape, shape_of
from smolvlm_core.paths import BUNDLED_CHECKPOINT
from smolvlm_core.prompt.geometry import VisionGeometry

BUNDLED = "smolvlm-shapes"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model. Sizes in bytes and px. `kv_bytes_per_token` is for bf16. `folder` is None for a model of the hub.

    `shape` is None where only its costs in tokens are known.
    """

    key: str
    title: str
    repo_id: str
    revision: str
    folder: Path | None
    parameters: int
    weights_bytes: int
    geometry: VisionGeometry
    kv_bytes_per_token: int
    context_tokens: int
    video_fps: float
    video_max_frames: int
    licence: str
    note: str = ""
    shape: ModelShape | None = None

    @property
    def memory_bytes(self) -> int:
        """Weights, a full context of key-value cache, and a tenth for activations."""
        return int(self.weights_bytes * 1.1) + self.context_tokens * self.kv_bytes_per_token + GIB // 4

    @property
    def tokens_per_square_image(self) -> int:
        rows, columns = self.geometry.grid(1000, 1000)
        return (rows * columns + 1) * self.geometry.tokens_per_tile

    def describe_costs(self) -> str:
        """Image tokens of a square picture and of a video frame, in words."""
        frame = self.geometry.tokens_per_tile * (2 if self.geometry.always_overview else 1)
        return f"{self.tokens_per_square_image} tokens a picture, {frame} a frame"

    @property
    def weights_id(self) -> str:
        """What the weights in memory are keyed by."""
        return f"{self.repo_id}@{self.revision}" if self.folder is None else str(self.folder)


def _hub(
    size: str, title: str, parameters: int, text: tuple[int, int, int, int, int], kv_kib: float, context: int
) -> ModelSpec:
    """`text`: layers, hidden size, heads, key-value heads, feed-forward size. All have a head size of 64."""
    large = size.startswith("2.2B")
    layers, hidden, heads, kv_heads, feed_forward = text
    repo = f"HuggingFaceTB/SmolVLM2-{size}"
    geometry = VisionGeometry(384, 1536, 81) if large else VisionGeometry(512, 2048, 64)
    return ModelSpec(
        key=repo.split("/")[1],
        title=title,
        repo_id=repo,
        revision="main",
        folder=None,
        parameters=parameters,
        weights_bytes=parameters * 2,
        geometry=geometry,
        kv_bytes_per_token=int(kv_kib * 1024),
        context_tokens=context,
        video_fps=1.0,
        video_max_frames=64,
        licence="Apache-2.0",
        shape=ModelShape(
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=64,
            feed_forward=feed_forward,
            vocabulary=49280,
            vision_hidden=1152 if large else 768,
            vision_feed_forward=4304 if large else 3072,
            patches=27**2 if large else 32**2,
            tile=geometry.tile,
            tokens_per_tile=geometry.tokens_per_tile,
        ),
    )


# Sizes: the published configurations; key-value bytes: 2 × layers × kv heads × head dim × 2 bytes.
PUBLISHED = (
    _hub("2.2B-Instruct", "SmolVLM2 2.2B", 2_246_784_880, (24, 2048, 32, 32, 8192), 192, 8192),
    _hub("500M-Video-Instruct", "SmolVLM2 500M Video", 507_482_304, (32, 960, 15, 5, 2560), 40, 8192),
    _hub("256M-Video-Instruct", "SmolVLM2 256M Video", 256_484_928, (30, 576, 9, 3, 1536), 22.5, 8192),
)


@lru_cache(maxsize=1)
def bundled() -> ModelSpec:
    """The checkpoint that comes with the project. Read once: pages ask for it several times in each run."""
    note = "Trained by this project on drawn shapes. It does not know photos, people or text."
    return replace(
        from_folder(BUNDLED_CHECKPOINT), key=BUNDLED, title="SmolVLM Shapes (bundled)", licence="Apache-2.0", note=note
    )


def models() -> tuple[ModelSpec, ...]:
    """Every model known by name, the largest first."""
    return (*PUBLISHED, bundled())


def find(name: str) -> ModelSpec:
    """A model by key, hub id or folder.

    Raises:
        ModelError: no such model, or the folder holds no SmolVLM2 checkpoint.
    """
    for spec in models():
        if name.lower() in (spec.key.lower(), spec.repo_id.lower()):
            return spec
    if (folder := _folder_of(name)) is not None:
        return from_folder(folder)
    known = ", ".join(spec.key for spec in models())
    raise ModelError(f"There is no model called {name!r}.", f"Use one of {known}, or the path of a checkpoint folder.")


def _folder_of(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, or none
        return None


def from_folder(folder: Path) -> ModelSpec:
    """Read a checkpoint folder's configuration.

    Raises:
        ModelError: a file is missing or damaged; the message names it.
    """
    folder = folder.resolve()
    config = read_json(folder, "config.json")
    preprocessor = read_json(folder, "preprocessor_config.json")
    if config.get("model_type") not in ("smolvlm", "idefics3"):
        raise ModelError(
            f"{folder} holds a {config.get('model_type')!r} model.",
            "Choose a folder with a SmolVLM checkpoint (model_type smolvlm).",
        )
    weights = weights_in(folder)
    check_configs(folder, config, preprocessor)
    return _spec_of(folder, config, preprocessor, sum(path.stat().st_size for path in weights))


def _spec_of(folder: Path, config: dict[str, Any], preprocessor: dict[str, Any], weights_bytes: int) -> ModelSpec:
    text, vision = config["text_config"], config["vision_config"]
    heads = text["num_attention_heads"]
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    tile = preprocessor["max_image_size"]["longest_edge"]
    tokens = (vision["image_size"] // vision["patch_size"]) ** 2 // config["scale_factor"] ** 2
    sampling = preprocessor.get("video_sampling") or {}
    return ModelSpec(
        key=str(folder),
        title=folder.name,
        repo_id=folder.name,
        revision="",
        folder=folder,
        parameters=weights_bytes // 2,
        weights_bytes=weights_bytes,
        geometry=VisionGeometry(tile, preprocessor["size"]["longest_edge"], tokens),
        kv_bytes_per_token=4 * text["num_hidden_layers"] * (text.get("num_key_value_heads") or heads) * head_dim,
        context_tokens=text.get("max_position_embeddings") or 2048,
        video_fps=float(sampling.get("fps", 1)),
        video_max_frames=int(sampling.get("max_frames", 64)),
        licence="see the checkpoint's own card",
        shape=shape_of(config, tile),
    )


def is_cached(spec: ModelSpec) -> bool:
    """Whether the model's weights are on this machine already."""
    if spec.folder is not None:
        return True
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(spec.repo_id, name, revision=spec.revision), str) for name in names)


def cached_checkpoints() -> list[ModelSpec]:
    """SmolVLM checkpoints in the Hugging Face cache that the catalogue does not list. Reads configurations only."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    known = {spec.repo_id for spec in PUBLISHED}
    found = []
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model" or "smolvlm" not in repo.repo_id.lower() or repo.repo_id in known:
            continue
        latest = max(repo.revisions, key=lambda revision: revision.last_modified, default=None)
        if latest is None:
            continue
        try:
            spec = from_folder(latest.snapshot_path)
        except ModelError:
            continue  # incomplete, or another architecture
        found.append(replace(spec, title=repo.repo_id.split("/")[-1]))
    return found


def choose_default(machine: Machine, cached: frozenset[str]) -> tuple[str, str]:
    """(key of the model for a machine, why in one line). `cached`: keys of hub models that are on disk. Pure."""
    large, middle, small = PUBLISHED
    if machine.gpu_memory_bytes >= large.memory_bytes + GIB // 2:
        wanted, why = large, f"{machine.gpu_name} has {machine.gpu_memory_bytes / GIB:.0f} GiB"
    elif machine.gpu_memory_bytes >= middle.memory_bytes + GIB // 2:
        wanted, why = (
            middle,
            f"{machine.gpu_name} has {machine.gpu_memory_bytes / GIB:.0f} GiB, too little for the 2.2B model",
        )
    elif machine.ram_bytes >= 3 * small.memory_bytes:
        wanted, why = small, "no GPU is large enough for a larger one"
    else:
        return (
            BUNDLED,
            f"{machine.ram_bytes / GIB:.1f} GiB of RAM is too little for a published model, so the bundled model is used.",
        )
    if machine.hub_reachable or wanted.key in cached:
        return wanted.key, f"Chosen because {why}."
    for other in PUBLISHED:
        if other.key in cached and other.weights_bytes <= wanted.weights_bytes:
            return other.key, "Chosen because it is already on this machine and the model hub cannot be reached."
    return (
        BUNDLED,
        "The model hub cannot be reached and no SmolVLM2 is on this machine, so the bundled model is used.",
    )


def default_model(machine: Machine) -> tuple[ModelSpec, str]:
    key, why = choose_default(machine, frozenset(spec.key for spec in PUBLISHED if is_cached(spec)))
    return find(key), why

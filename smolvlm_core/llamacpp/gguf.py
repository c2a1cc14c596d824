"""Reads GGUF metadata: whether a file is a text model or a vision projector, its sizes, its chat template.

Does not know servers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.gguf_header import read_header
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.geometry import VisionGeometry
from smolvlm_core.prompt.template import FAKE_TOKEN, FIRST_TILE, GLOBAL_TOKEN

FileKind = Literal["text", "projector", "other"]
# Without these, llama-server refuses every image ("Invalid token"). It looks them up in the text model's vocabulary
# (llama.cpp b11434, tools/mtmd/mtmd.cpp, PROJECTOR_TYPE_IDEFICS3).
IMAGE_MARKS = ("\n", "\n\n", FAKE_TOKEN, GLOBAL_TOKEN, FIRST_TILE)
# Quantizations of about three bits per weight or less.
HEAVY = (
    "Q2_K",
    "Q2_K_S",
    "Q3_K_S",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "IQ3_XXS",
    "TQ1_0",
    "TQ2_0",
)
TOKENS = "tokenizer.ggml.tokens"
MAX_EDGE = 2**14  # px
MAX_SIZE = 2**24  # heads, layers, hidden sizes, token numbers
MAX_CONTEXT = 2**31
Fields = dict[str, Any]
BPE_NEWLINE = "Ċ"  # how a byte-level vocabulary writes \n


@dataclass(frozen=True)
class GgufFacts:
    """Sizes in tokens, px and parameters. 0 or "" where the file does not say."""

    path: Path
    kind: FileKind
    _: KW_ONLY
    architecture: str = ""
    name: str = ""
    quantization: str = ""
    parameters: int = 0
    size_bytes: int = 0
    # Text models
    hidden_size: int = 0
    layers: int = 0
    kv_bytes_per_token: int = 0
    context_tokens: int = 0
    vocab_size: int = 0
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    adds_bos: bool = False
    pre_tokenizer: str = ""
    missing_marks: tuple[str, ...] = ()
    # Projectors
    projector_type: str = ""
    projection_size: int = 0
    tile: int = 0
    patch: int = 0
    scale_factor: int = 0
    longest_edge: int = 0

    @property
    def tokens_per_tile(self) -> int:
        return (self.tile // self.patch // max(1, self.scale_factor)) ** 2 if self.patch else 0


def read_gguf(path: Path) -> GgufFacts:
    """Metadata of a file. Read once for each state of it (size and time of change), a damaged one too.

    Raises:
        ModelError: the file is missing or is not a complete GGUF file.
    """
    if not path.is_file():  # a device or FIFO is none
        raise ModelError(f"There is no file {path}.", "Give the path of a .gguf file.")
    status = path.stat()
    found = _read(path, status.st_mtime_ns, status.st_size)
    if isinstance(found, str):
        raise ModelError(f"{path.name} is not a complete GGUF file: {found}.", "Convert or download it again.")
    return found


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size_bytes: int) -> GgufFacts | str:
    """What is in the file, or why it cannot be read."""
    try:
        header = read_header(path, arrays=(TOKENS,))
        kind, own = _kind_of(header.fields)
        return GgufFacts(
            path,
            kind,
            name=str(header.fields.get("general.name", "")),
            quantization=_quantization(header.fields),
            parameters=sum(tensor.n_elements for tensor in header.tensors),
            size_bytes=size_bytes,
            **own,
        )
    except (ValueError, OSError) as error:
        return str(error)


def _kind_of(fields: Fields) -> tuple[FileKind, dict[str, Any]]:
    architecture = str(fields.get("general.architecture", ""))
    if architecture == "clip":
        return "projector", _projector(fields)
    if fields.get(TOKENS) is None:
        return "other", {"architecture": architecture}
    return "text", {"architecture": architecture, **_text(fields, architecture)}


def _projector(fields: Fields) -> dict[str, Any]:
    return {
        "architecture": "clip",
        "projector_type": str(fields.get("clip.projector_type", fields.get("clip.vision.projector_type", ""))),
        "projection_size": _size(fields, "clip.vision.projection_dim"),
        "tile": _size(fields, "clip.vision.image_size", MAX_EDGE),
        "patch": _size(fields, "clip.vision.patch_size", MAX_EDGE),
        "scale_factor": _size(fields, "clip.vision.projector.scale_factor", MAX_EDGE),
        "longest_edge": _size(fields, "clip.vision.preproc_image_size", MAX_EDGE),
    }


def _text(fields: Fields, architecture: str) -> dict[str, Any]:
    tokens = fields[TOKENS]
    if not isinstance(tokens, tuple) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{TOKENS} is not an array of texts")
    known = set(tokens)
    heads = _size(fields, f"{architecture}.attention.head_count")
    hidden = _size(fields, f"{architecture}.embedding_length")
    head_size = _size(fields, f"{architecture}.attention.key_length", default=hidden // heads if heads else 0)
    layers = _size(fields, f"{architecture}.block_count")
    kv_heads = _size(fields, f"{architecture}.attention.head_count_kv", default=heads)

    def token(key: str) -> str:
        at = fields.get(f"tokenizer.ggml.{key}_token_id")
        return tokens[at] if isinstance(at, int) and 0 <= at < len(tokens) else ""

    return {
        "hidden_size": hidden,
        "layers": layers,
        "kv_bytes_per_token": 4 * layers * kv_heads * head_size,
        "context_tokens": _size(fields, f"{architecture}.context_length", MAX_CONTEXT),
        "vocab_size": len(tokens),
        "chat_template": str(fields.get("tokenizer.chat_template", "")),
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "adds_bos": bool(fields.get("tokenizer.ggml.add_bos_token", False)),
        "pre_tokenizer": str(fields.get("tokenizer.ggml.pre", "")),
        "missing_marks": tuple(m for m in IMAGE_MARKS if m.replace("\n", BPE_NEWLINE) not in known and m not in known),
    }


def _size(fields: Fields, key: str, most: int = MAX_SIZE, default: int = 0) -> int:
    """A whole number from the metadata. Raises ValueError where it is something else or too large for any model."""
    value = fields.get(key, default)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{key!r} is {str(value)[:40]}, not a whole number from 0 to {most}")
    return value


def _quantization(fields: Fields) -> str:
    from gguf import LlamaFileType

    number = fields.get("general.file_type")
    try:
        return LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_") if number is not None else ""
    except ValueError:
        return f"file type {number}"


def find_projector(text: GgufFacts) -> Path | None:
    """The projector in a text model's folder: a fitting `mmproj*` file, of the same name if there is one, F16 first."""
    candidates = sorted(p for p in text.path.parent.glob("*.gguf") if "mmproj" in p.name.lower())
    fitting = [p for p in candidates if (facts := _readable(p)) is not None and not why_not_a_pair(text, facts)]
    named = [p for p in fitting if _stem(p.name) == _stem(text.path.name)]
    among = named or fitting
    return min(among, key=lambda p: ("f16" not in p.name.lower(), p.name)) if among else None


def model_folders() -> list[Path]:
    """Where LM Studio and llama.cpp keep downloaded GGUF files."""
    cache = Path(os.environ.get("LLAMA_CACHE", "") or user_cache_path("llama.cpp", appauthor=False))
    return [Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models", cache]


def find_pairs(folders: Sequence[Path] | None = None) -> list[tuple[Path, Path]]:
    """(text model, projector) of each SmolVLM pair below `folders`, by file names only: reading a vocabulary takes seconds."""
    pairs = []
    for folder in model_folders() if folders is None else folders:
        files = sorted(p for p in folder.rglob("*.gguf") if "smolvlm" in p.name.lower()) if folder.is_dir() else []
        projectors = [p for p in files if "mmproj" in p.name.lower()]
        for text in (p for p in files if p not in projectors):
            beside = [p for p in projectors if p.parent == text.parent]
            fitting = [p for p in beside if _stem(text.name) in p.name] or beside
            if fitting:
                pairs.append((text, min(fitting, key=lambda p: ("f16" not in p.name.lower(), p.name))))
    return pairs


def _stem(name: str) -> str:
    """The name without quantization: the same for mmproj-NAME-F16.gguf and NAME-Q4_K_M.gguf."""
    return name.removeprefix("mmproj-").removesuffix(".gguf").rsplit("-", 1)[0]


def _readable(path: Path) -> GgufFacts | None:
    try:
        return read_gguf(path)
    except ModelError:
        return None


def why_not_a_pair(text: GgufFacts, projector: GgufFacts) -> str:
    """Why two files cannot work together; "" where they can. The same sizes do not prove the same model."""
    if projector.kind != "projector":
        return f"{projector.path.name} is not a vision projector but {_kind_words(projector)}"
    if text.kind != "text":
        return f"{text.path.name} is not a text model but {_kind_words(text)}"
    if projector.projection_size != text.hidden_size:
        return (
            f"{projector.path.name} gives {projector.projection_size} values a token and {text.path.name} takes "
            f"{text.hidden_size}: it is the projector of another model"
        )
    return ""


def names_another_model(text: GgufFacts, projector: GgufFacts) -> bool:
    """Whether the files name different checkpoints as their source. Not proof: names can be changed."""
    return bool(text.name and projector.name) and text.name.lower() != projector.name.lower()


def _kind_words(facts: GgufFacts) -> str:
    return {"text": "a text model", "projector": "a vision projector", "other": "something else"}[facts.kind]


def spec_of(text: GgufFacts, projector: GgufFacts | None) -> ModelSpec:
    """The model that a pair of files makes. A text model alone takes no pictures: its geometry is one empty tile.

    Raises:
        ModelError: the projector does not say how it cuts pictures.
    """
    if projector is not None and not (projector.tile and projector.tokens_per_tile):
        raise ModelError(
            f"{projector.path.name} does not say how large its tiles are, or they have no tokens.",
            "Use the projector of a SmolVLM2 model, or convert it again.",
        )
    geometry = (
        VisionGeometry(projector.tile, projector.longest_edge or projector.tile, projector.tokens_per_tile, True)
        if projector
        else VisionGeometry(1, 1, 1)
    )
    return ModelSpec(
        key=str(text.path),
        title=text.path.name.removesuffix(".gguf"),
        repo_id=text.path.name,
        revision="",
        folder=text.path.parent,
        parameters=text.parameters + (projector.parameters if projector else 0),
        weights_bytes=text.size_bytes + (projector.size_bytes if projector else 0),
        geometry=geometry,
        kv_bytes_per_token=text.kv_bytes_per_token,
        context_tokens=text.context_tokens,
        video_fps=1.0,
        video_max_frames=64,
        licence="see the model's own card",
    )

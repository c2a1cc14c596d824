"""Paths of the bundled checkpoint, the samples and the user's data folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_data_path

PROJECT = Path(__file__).resolve().parent.parent
BUNDLED_CHECKPOINT = PROJECT / "models" / "smolvlm-shapes"
GALLERY = PROJECT / "assets" / "gallery"


def default_gguf_folder(checkpoint: Path, name: str) -> Path:
    """The default folder for the GGUF files of a checkpoint. Checkpoint folders with the same name get different folders."""
    path_hash = hashlib.sha256(str(checkpoint.resolve()).encode()).hexdigest()[:6]
    return data_folder() / "gguf" / f"{name}-{path_hash}"


def data_folder() -> Path:
    """The folder for conversations and media: $SMOLVLM_LENS_DATA, or the system's folder for application data."""
    folder = os.environ.get("SMOLVLM_LENS_DATA")
    return Path(folder).expanduser() if folder else user_data_path("smolvlm-lens", appauthor=False)

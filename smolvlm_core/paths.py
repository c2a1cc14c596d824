"""Where things lie: the bundled checkpoint, the samples, and the user's data folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_data_path

PROJECT = Path(__file__).resolve().parent.parent
BUNDLED_CHECKPOINT = PROJECT / "models" / "smolvlm-shapes"
GALLERY = PROJECT / "assets" / "gallery"


def default_gguf_folder(checkpoint: Path, name: str) -> Path:
    """Where a checkpoint's GGUF files are kept unless told otherwise; two folders of the same name do not share one."""
    mark = hashlib.sha256(str(checkpoint.resolve()).encode()).hexdigest()[:6]
    return data_folder() / "gguf" / f"{name}-{mark}"


def data_folder() -> Path:
    """Conversations and media live here: $SMOLVLM_LENS_DATA, or the system's folder for application data."""
    chosen = os.environ.get("SMOLVLM_LENS_DATA")
    return Path(chosen).expanduser() if chosen else user_data_path("smolvlm-lens", appauthor=False)

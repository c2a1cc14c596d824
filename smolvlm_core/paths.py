"""Where things lie: the bundled checkpoint, the samples, and the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

PROJECT = Path(__file__).resolve().parent.parent
BUNDLED_CHECKPOINT = PROJECT / "models" / "smolvlm-shapes"
GALLERY = PROJECT / "assets" / "gallery"


def data_folder() -> Path:
    """Conversations and media live here: $SMOLVLM_LENS_DATA, or the system's folder for application data."""
    chosen = os.environ.get("SMOLVLM_LENS_DATA")
    return Path(chosen).expanduser() if chosen else user_data_path("smolvlm-lens", appauthor=False)

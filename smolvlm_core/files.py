"""JSON files: read with errors that say what to do, written so that a crash leaves the old or the new file. Knows no contents."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from smolvlm_core.errors import StoreError


def read_json(path: Path, default: Any) -> Any:
    """The value in a JSON file; `default` where there is no file.

    Raises:
        StoreError: it cannot be read or is damaged. The file is left as it is.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Repair or remove that file.") from error


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Replace a JSON file in one step. `private`: only this user can read it.

    Raises:
        StoreError: it cannot be written. The old file stays, and no temporary file is left.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            temporary = Path(file.name)
            json.dump(value, file, indent=1)
        temporary.chmod(0o600 if private else 0o644)
        os.replace(temporary, path)
    except OSError as error:
        fix = "Free some disk space, or check the folder's permissions."
        raise StoreError(f"{path} cannot be written: {error}.", fix) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # already moved where all went well

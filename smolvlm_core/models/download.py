"""Fetches a checkpoint from the model hub, with progress. Does not load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smolvlm_core.errors import ModelError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.machine import GIB, hub_reachable
from smolvlm_core.work.report import Report

_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt"]


def local_folder(spec: ModelSpec, report: Report = lambda text, share: None) -> Path:
    """The folder of a model's files on this machine. Downloads them first where needed. Raises ModelError."""
    return spec.folder or _download(spec, report)


def _download(spec: ModelSpec, report: Report) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    report(f"Looking for {spec.title}", None)
    try:
        if not hub_reachable():
            return Path(
                snapshot_download(spec.repo_id, revision=spec.revision, allow_patterns=_FILES, local_files_only=True)
            )
        return Path(
            snapshot_download(
                spec.repo_id, revision=spec.revision, allow_patterns=_FILES, tqdm_class=_progress_bar(spec, report)
            )
        )
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{spec.title} is not on this machine and the model hub cannot be reached.",
            "Go online, choose the bundled model, or give the folder of a downloaded checkpoint.",
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"The model hub refused {spec.repo_id}: {error}", "Check the name and your access, or try again later."
        ) from error
    except OSError as error:
        raise ModelError(
            f"Downloading {spec.title} failed: {error}",
            "Check the connection and the free disk space; the download resumes where it stopped.",
        ) from error


def _progress_bar(spec: ModelSpec, report: Report) -> type:
    from tqdm import tqdm

    class DownloadBar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
        """Reports bytes instead of drawing; the hub client opens one for bytes and one for files."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            self.n = kwargs.get("initial", 0) or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self._bytes and self.n > 2**20:
                done = min(1.0, self.n / spec.weights_bytes)
                report(f"Downloading {spec.title}: {self.n / GIB:.2f} of {spec.weights_bytes / GIB:.2f} GiB", done)
            return None

    return DownloadBar

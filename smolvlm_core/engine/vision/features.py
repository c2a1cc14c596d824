"""Features of tiles that were encoded before: in memory, and on disk for the next start. Does not know what encodes them.

A tile is known by its pixels, so the same picture in another conversation, and frames that two samplings of a clip share,
are found again. Files are safetensors, one for each tile; a file's time of change is when it was last used.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.errors import StoreError
from smolvlm_core.files import replacing
from smolvlm_core.paths import data_folder

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
MEMORY_BYTES = 256 * 2**20  # 3,600 tiles of the 256M and 500M models, 800 of the 2.2B model
DISK_BYTES = 2**30
SUFFIX = ".safetensors"
EVICT_TO = 0.9  # of the budget, so that not every new file lists the folder


def tile_key(pixels: torch.Tensor, encoder: str) -> str:
    """The key of one tile's features: its (3, H, W) pixels, and what encodes them: weights, runtime and precision."""
    digest = hashlib.sha256(encoder.encode())
    digest.update(pixels.contiguous().numpy())
    return digest.hexdigest()


class FeatureCache:
    """Features by key, within a budget in memory and one on disk. Used from any thread and by several processes.

    Where the disk cannot be used, it works in memory alone.
    """

    def __init__(
        self,
        folder: Callable[[], Path] = lambda: data_folder() / "features",
        memory_bytes: int = MEMORY_BYTES,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self._folder, self._disk_bytes = folder, disk_bytes
        self._memory: ByteCache[torch.Tensor] = ByteCache(memory_bytes, lambda features: features.nbytes)
        self._on_disk: dict[Path, int] = {}  # bytes in each folder that was used, as last counted
        self._counting = threading.Lock()

    def get(self, key: str) -> torch.Tensor | None:
        """(tokens, hidden) features on the CPU; None for a tile that was not encoded yet."""
        if (features := self._memory.peek(key)) is not None:
            return features
        if (features := self._read(key)) is not None:
            self._memory.put(key, features)
        return features

    def put(self, key: str, features: torch.Tensor) -> None:
        features = features.detach().to("cpu").clone()  # a view would keep its whole batch in memory
        self._memory.put(key, features)
        self._write(key, features)

    def clear(self) -> None:
        """Forget all features, on disk too."""
        self._memory.clear()
        for path in self._files():
            with contextlib.suppress(OSError):
                path.unlink()
        with self._counting:
            self._on_disk[self._folder()] = 0

    def disk_bytes(self) -> int:
        """What the files take. Counted once; what other processes write later is found with the next eviction."""
        with self._counting:
            return self._counted(self._folder())

    @property
    def memory_bytes(self) -> int:
        return self._memory.held_bytes

    def _path(self, key: str) -> Path:
        return self._folder() / f"{key}{SUFFIX}"

    def _read(self, key: str) -> torch.Tensor | None:
        path = self._path(key)
        if not path.exists():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            features = load(path.read_bytes())["features"]
            os.utime(path)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s cannot be used: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return features

    def _write(self, key: str, features: torch.Tensor) -> None:
        from safetensors.torch import save

        content = save({"features": features.contiguous()})
        try:
            path = self._path(key)
            with replacing(path, private=True) as file:
                file.write(content)
            self._count(path.parent, len(content))
        except (StoreError, OSError) as error:
            logger.warning("features are not kept on disk: %s", error)

    def _count(self, folder: Path, added: int) -> None:
        with self._counting:
            if folder in self._on_disk:
                self._on_disk[folder] += added
            if self._counted(folder) > self._disk_bytes:
                self._on_disk[folder] = self._evict()

    def _counted(self, folder: Path) -> int:
        if folder not in self._on_disk:
            self._on_disk[folder] = sum(size for _, size, _ in self._listed())
        return self._on_disk[folder]

    def _evict(self) -> int:
        """Delete the least recently used files. Returns the bytes that are left."""
        listed = sorted(self._listed())
        left = sum(size for _, size, _ in listed)
        for _, size, path in listed:
            if left <= self._disk_bytes * EVICT_TO:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                left -= size
        return left

    def _listed(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of each file."""
        out = []
        for path in self._files():
            with contextlib.suppress(OSError):  # another process deleted it
                found = path.stat()
                out.append((found.st_mtime, found.st_size, path))
        return out

    def _files(self) -> list[Path]:
        return list(self._folder().glob(f"*{SUFFIX}"))

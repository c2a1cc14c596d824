"""How many pictures a second a batch answers, against asking one after another: in the same process, and with `ask` for each.

    python -m benchmarks.batch                                   (the bundled checkpoint)
    python -m benchmarks.batch --checkpoint FOLDER --items 64 --out batch.json
    python -m benchmarks.batch --files 10000                     (memory only: a backend that does nothing)

Pictures are newly made, all differ, are stored as PNG, and each way gets its own, so no cache helps. Ways take turns
in rounds; the ratio is the median of the rounds' ratios, since the machine's speed can change between rounds. Hybrid is measured where llama-cpp-python is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from benchmarks.speed import machine
from smolvlm_core import media
from smolvlm_core.backends.base import Backend, Capabilities, collect
from smolvlm_core.batch.inputs import expand
from smolvlm_core.batch.local import LocalEngine
from smolvlm_core.batch.plan import Plan
from smolvlm_core.batch.results import Results
from smolvlm_core.batch.run import Batch
from smolvlm_core.conversations.unsaved import UnsavedMedia
from smolvlm_core.models.catalog import bundled
from smolvlm_core.paths import BUNDLED_CHECKPOINT
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Message
from smolvlm_core.workspace import Workspace

PROMPT = "Describe the image."
ANSWER = GenerationSettings(max_new_tokens=48)
PHOTO = (600, 400)  # px
MIB = 2**20
ASKED = 4  # pictures with a command each


class Nothing(Backend):
    """Answers at once, and has no model."""

    kind = "nothing"

    def __init__(self) -> None:
        self.name, self.spec = "nothing", bundled()

    def identity(self) -> str:
        return "nothing"

    def capabilities(self) -> Capabilities:
        return Capabilities(images=True, video=True, streaming=True, context_tokens=8192)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        yield Delta("A picture of something, described in a sentence as long as a caption usually is.")
        yield Stats("end")


def draw(folder: Path, count: int, rng: random.Random) -> None:
    """Smooth random colors, of a photo's size. What they show does not change what they cost."""
    folder.mkdir()
    for number in range(count):
        small = Image.frombytes("RGB", (18, 12), rng.randbytes(18 * 12 * 3))
        small.resize(PHOTO, Image.Resampling.BICUBIC).save(folder / f"{number:05}.png", compress_level=1)


def one_by_one(folder: Path, backend: Backend) -> float:
    """Seconds, as a loop over files would ask."""
    began = time.perf_counter()
    for path in sorted(folder.iterdir()):
        given = UnsavedMedia()
        shown = given.add_picture(media.open_image_file(path))
        prompt = build_prompt([Message("user", PROMPT, (shown,))], given.open)
        collect(backend.generate(prompt, ANSWER, threading.Event()))
    return time.perf_counter() - began


def cpu_seconds() -> float:
    """Of this process and its children, so far."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def batch(folder: Path, backend: Backend, parallel: int) -> float:
    """Seconds, with everything that a batch does besides."""
    plan = Plan(model=backend.identity(), settings=ANSWER)
    began = time.perf_counter()
    with Results(folder.with_suffix(".jsonl")) as results:
        run = Batch(expand([folder], PROMPT), plan, LocalEngine(plan, backend, parallel=parallel), results)
        end = run.run(lambda text, fraction: None, threading.Event())
    assert end.failed == 0 and end.remaining == 0, end
    return time.perf_counter() - began


def with_ask(folder: Path, model: str, count: int) -> float:
    """Seconds for so many pictures, each with a command of its own, as a shell's loop would ask."""
    began = time.perf_counter()
    for path in sorted(folder.iterdir())[:count]:
        command = [sys.executable, "-m", "smolvlm_core", "ask", PROMPT, "--model", model, "--image", str(path)]
        subprocess.run([*command, "--max-new-tokens", str(ANSWER.max_new_tokens)], check=True, capture_output=True)
    return time.perf_counter() - began


def measure(backend: Backend, name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    rng, seconds = random.Random(time.time_ns()), {"one by one": list[float](), "batch": list[float]()}
    cores: list[float] = []
    draw(folder / "warm", 2, rng)
    one_by_one(folder / "warm", backend)
    ways = list(seconds)
    for round_ in range(args.rounds):
        for way in ways if round_ % 2 == 0 else reversed(ways):
            pictures = folder / f"{way}-{round_}"
            draw(pictures, args.items, rng)
            used = cpu_seconds()
            took = one_by_one(pictures, backend) if way == "one by one" else batch(pictures, backend, args.parallel)
            if way == "one by one":
                cores.append((cpu_seconds() - used) / took)
            seconds[way].append(took)
            print(f"  {backend.name}: {way}: {args.items / took:.2f} items/s", flush=True)
    asked = min(ASKED, args.items)
    draw(folder / "ask", asked, rng)
    by_command = asked / with_ask(folder / "ask", name, asked)
    return {
        "items_per_second_with_ask": by_command,
        "cores_used_one_by_one": statistics.median(cores),
        "items_per_second": {way: args.items / statistics.median(values) for way, values in seconds.items()},
        "ratios": (ratios := [one / batch for one, batch in zip(*seconds.values())]),
        "ratio": statistics.median(ratios),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def memory(count: int, folder: Path) -> dict[str, Any]:
    """A batch over so many small files with a backend that does nothing: what the batch itself takes. In this process."""
    (folder / "in").mkdir()
    small = media.png_bytes(Image.new("RGB", (16, 16), "red"))
    for number in range(count):  # a tail makes each file another one, and decoders ignore it
        (folder / "in" / f"{number:06}.png").write_bytes(small + number.to_bytes(4, "big"))
    before = psutil.Process().memory_info().rss
    first = batch(folder / "in", Nothing(), 8)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    again = batch(folder / "in", Nothing(), 8)
    return {
        "files": count,
        "seconds": first,
        "seconds_when_all_are_answered": again,
        "rss_before_bytes": before,
        "peak_rss_bytes": peak,
    }


def memory_of(counts: list[int]) -> list[dict[str, Any]]:
    """Each in a process of its own."""
    found = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.batch", "--only-memory-of", str(count)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        row = found[-1]
        print(
            f"  {count} files: {row['seconds']:.1f} s, again {row['seconds_when_all_are_answered']:.2f} s, "
            f"RSS {row['rss_before_bytes'] / MIB:.0f} MiB before, {row['peak_rss_bytes'] / MIB:.0f} MiB at most",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--items", type=int, default=16, help="pictures in each round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--files", type=int, nargs="+", help="measure only the memory of batches of so many files")
    parser.add_argument("--only-memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        if args.only_memory_of:
            print(json.dumps(memory(args.only_memory_of, Path(data))))
            return
        os.environ["SMOLVLM_LENS_DATA"] = os.environ.get("SMOLVLM_LENS_DATA", data)
        report = {"memory": memory_of(args.files)} if args.files else {"speed": speed(args, Path(data))}
    report |= {"machine": machine(), "load_average": os.getloadavg()}
    print(report["machine"])
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))


def speed(args: argparse.Namespace, data: Path) -> dict[str, Any]:
    from smolvlm_core.llamacpp.text import client

    checkpoint = args.checkpoint.resolve()
    names = [str(checkpoint), *([f"hybrid:{checkpoint}"] if client.is_installed() else [])]
    workspace, found = Workspace(), {}
    try:
        for number, name in enumerate(names):
            backend = workspace.registry.make(name)
            (data / str(number)).mkdir()
            found[backend.name] = row = measure(backend, name, args, data / str(number))
            rates = row["items_per_second"]
            print(
                f"{backend.name}: {rates['one by one']:.2f} → {rates['batch']:.2f} items/s ({row['ratio']:.2f} ×), "
                f"{rates['batch'] / row['items_per_second_with_ask']:.1f} × `ask` for each, "
                f"the loop used {row['cores_used_one_by_one']:.1f} cores, "
                f"peak RSS {row['peak_rss_bytes'] / MIB:.0f} MiB"
            )
    finally:
        workspace.close()
    return found


if __name__ == "__main__":
    main()

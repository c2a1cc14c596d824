"""A live session that runs for ten minutes: does anything leak, and how long is it from a frame to its answer?

    python -m benchmarks.live --minutes 10

Plays a drawn clip as live, again and again through the camera's own way in: the newest frame is sent five times a second, as a
browser does. Prints, at the start (after a warm-up) and at the end: memory, threads, open files and stored bytes; and latencies.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from smolvlm_core import media
from smolvlm_core.live.alerts import Alert
from smolvlm_core.live.records import LiveRequest
from smolvlm_core.live.session import LiveSession
from smolvlm_core.live.sources import CameraSource
from smolvlm_core.workspace import Workspace
from training.scenes import Scene, Thing, draw

WHITE = (255, 255, 255)
FRAME_SECONDS, CHANGE_SECONDS = 0.2, 6.0


def frames(size: tuple[int, int]) -> list[bytes]:
    """Two drawn pictures as a camera sends them: a blue triangle, a red circle. Noise makes each frame another one."""
    things = (
        Thing("triangle", "blue", (30, 60, 220), 0.45, 0.5, 0.5),
        Thing("circle", "red", (220, 20, 40), 0.45, 0.5, 0.5),
    )
    rng = np.random.default_rng(0)
    found = []
    for thing in things:
        pixels = np.asarray(draw(Scene((thing,), (WHITE, WHITE)), *size)).astype(np.int16)
        for _ in range(round(CHANGE_SECONDS / FRAME_SECONDS)):
            noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
            found.append(media.jpeg_bytes(Image.fromarray(noisy), 90))
    return found


def send(source: CameraSource, shown: list[bytes], over: threading.Event) -> None:
    number = 0
    while not over.wait(FRAME_SECONDS):
        source.offer(source.token, shown[number % len(shown)])
        number += 1


def measured(live: LiveSession, folder: Path, workspace: Workspace) -> dict[str, float]:
    process = psutil.Process()
    return {
        "memory MiB": process.memory_info().rss / 2**20,
        "of it features": workspace.features.memory_bytes / 2**20,  # a cache of at most 256 MiB
        "threads": process.num_threads(),
        "open files": process.num_fds() if hasattr(process, "num_fds") else len(process.open_files()),
        "stored MiB": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20,
        "asked": live.asked,
        "skipped": live.skipped,
        "alerts": live.event_count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds before the first measurement")
    parser.add_argument("--model", default="smolvlm-shapes")
    parser.add_argument("--width", type=int, default=640)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run(args, Path(name))


def run(args: argparse.Namespace, folder: Path) -> None:
    workspace, source, over = Workspace(folder), CameraSource(), threading.Event()
    request = LiveRequest(
        entry=args.model,
        precision="float32",
        question="Describe this image.",
        alerts=(Alert(question="Is there a red circle?", quiet_seconds=5),),
        minutes=24 * 60,
    )
    before = measured_threads()
    live = workspace.live.begin(request, source)
    sender = threading.Thread(target=send, args=(source, frames((args.width, args.width * 3 // 4)), over))
    sender.start()
    while not live.asked:
        time.sleep(0.1)
    time.sleep(args.warm_up)
    start, began = measured(live, folder, workspace), time.monotonic()
    latencies: dict[int, float] = {}
    by_minute: list[float] = []
    while time.monotonic() - began < 60 * args.minutes and live.is_running:
        latencies |= {entry.segment or 0: entry.latency_seconds for entry in live.entries}
        time.sleep(2)
        if time.monotonic() - began > 60 * len(by_minute):
            by_minute.append(psutil.Process().memory_info().rss / 2**20)
    end = measured(live, folder, workspace)
    live.stop()
    assert live.job is not None
    live.job.wait(30)
    over.set()
    sender.join()
    print(f"{args.minutes:g} minutes, frames of {args.width} px, {live.backend.name}")
    for name in start:
        print(f"{name:>14}: {start[name]:10,.1f} → {end[name]:10,.1f}")
    print(f"memory MiB by minute: {' '.join(f'{size:.0f}' for size in by_minute)}")
    p50, p95 = np.percentile(list(latencies.values()), (50, 95))
    print(
        f"frame to answers: p50 {p50:.3f} s, p95 {p95:.3f} s ({len(latencies):,} frames, {len(request.questions)} questions each)"
    )
    print(f"threads of this process: {before} before, {measured_threads()} after; over: {live.over} {live.problem}")


def measured_threads() -> int:
    return threading.active_count()


if __name__ == "__main__":
    main()

"""Compares the speed and memory of the frame sampler with direct calls to the decoders.

    python -m benchmarks.frames [--lengths 10 120 3600] [--sizes 480 1080 2160] [--counts 8 32 64] [--repeat 1]
    python -m benchmarks.frames --growth 500       (memory of one process over 500 clips)

Needs ffmpeg to generate the clips: 10 s of a moving pattern with noise and a keyframe every 2 s, repeated without
re-encoding. Each measurement runs in its own process. Peak memory includes the interpreter and all libraries. torchcodec
is measured only if it is installed and can load FFmpeg's libraries.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FPS = 30
WIDTHS = {480: 854, 1080: 1920, 2160: 3840}


def ours(path: str, times: list[float]) -> int:
    from smolvlm_core.video import take_frames

    return len(take_frames(Path(path), times).frames)


def decord(path: str, times: list[float]) -> int:
    import decord

    reader = decord.VideoReader(path)
    rate, count = reader.get_avg_fps(), len(reader)
    return len(reader.get_batch([min(count - 1, int(t * rate + 1e-6)) for t in times]).asnumpy())


def opencv(path: str, times: list[float]) -> int:
    import cv2

    capture, frames = cv2.VideoCapture(path), []
    for t in times:
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(t * FPS + 1e-6))
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    return len(frames)


def pyav(path: str, times: list[float]) -> int:
    import av

    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for t in times:
            container.seek(int(t / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time >= t - 0.5 / FPS:
                    frames.append(frame.to_ndarray(format="rgb24"))
                    break
    return len(frames)


def torchcodec(path: str, times: list[float]) -> int:
    from torchcodec.decoders import VideoDecoder

    return len(VideoDecoder(path).get_frames_played_at(times).data)


IMPORTS = {
    "ours": ["av", "smolvlm_core.video.decoders"],
    "decord": ["decord"],
    "opencv": ["cv2"],
    "pyav": ["av", "numpy"],
    "torchcodec": ["torchcodec.decoders"],
}
TOOLS = {f.__name__: f for f in (ours, decord, opencv, pyav, torchcodec)}


def measure(tool: str, path: str, count: int, seconds: float) -> dict[str, float]:
    """Measure one tool in this process. Called once per process."""
    for name in IMPORTS[tool]:  # imports are not part of the measured time
        import_module(name)
    times = [i * (seconds - 1 / FPS) / (count - 1) for i in range(count)]
    began = time.perf_counter()
    decoded = TOOLS[tool](path, times)
    spent = time.perf_counter() - began
    if decoded != count:
        raise SystemExit(f"{tool} returned {decoded} of {count} frames")
    return {"seconds": spent, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure_in_new_process(tool: str, path: Path, count: int, seconds: float) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--one", tool, str(path), str(count), str(seconds)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def make_clip(folder: Path, height: int, seconds: int) -> Path:
    path, piece = folder / f"{height}p-{seconds}s.mp4", folder / f"{height}p-piece.mp4"
    pattern = f"testsrc2=s={WIDTHS[height]}x{height}:r={FPS}:d=10,noise=alls=6:allf=t"
    encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "32", "-g", str(2 * FPS), "-pix_fmt", "yuv420p"]
    if not piece.exists():
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", pattern, *encode, str(piece)], check=True)
    listing = folder / "list.txt"
    listing.write_text(f"file {piece.name}\n" * (seconds // 10))
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "concat", "-i", str(listing), "-c", "copy", str(path)], check=True, cwd=folder
    )
    return path


def compare(lengths: list[int], sizes: list[int], counts: list[int], repeat: int) -> None:
    print(
        "| clip | frames | "
        + " | ".join(TOOLS)
        + " | ours / fastest other | decord / ours | peak MiB, ours | peak MiB, others |"
    )
    print("|" + "---|" * (6 + len(TOOLS)))
    for height in sizes:
        with tempfile.TemporaryDirectory() as name:
            for seconds in lengths:
                path = make_clip(Path(name), height, seconds)
                with path.open("rb") as file:  # warm the system's file cache, so that every tool starts equal
                    while file.read(1 << 20):
                        pass
                for count in counts:
                    row(path, height, seconds, count, repeat)
                path.unlink()


def row(path: Path, height: int, seconds: int, count: int, repeat: int) -> None:
    best: dict[str, dict[str, float]] = {}
    for _ in range(repeat):
        for tool in TOOLS:
            result = measure_in_new_process(tool, path, count, seconds)
            if result is not None and (tool not in best or result["seconds"] < best[tool]["seconds"]):
                best[tool] = result
    mine, others = best["ours"], {tool: result for tool, result in best.items() if tool != "ours"}
    fastest = min(result["seconds"] for result in others.values())
    cells = " | ".join(f"{best[tool]['seconds']:.2f} s" if tool in best else "–" for tool in TOOLS)
    speedup = f"{others['decord']['seconds'] / mine['seconds']:.1f}" if "decord" in others else "–"
    memory = ", ".join(f"{tool} {result['peak_mib']:.0f}" for tool, result in others.items())
    print(
        f"| {height}p, {seconds} s, {path.stat().st_size / 1e6:.0f} MB | {count} | {cells} | "
        f"{mine['seconds'] / fastest:.2f} | {speedup} | {mine['peak_mib']:.0f} | {memory} |",
        flush=True,
    )


def growth(clips: int) -> None:
    """Print the resident memory of this process five times while it samples the clips."""
    import psutil

    from smolvlm_core.video import sample_clip

    with tempfile.TemporaryDirectory() as name:
        path = make_clip(Path(name), 480, 10)
        for number in range(1, clips + 1):
            sample_clip(path, 8, strategy="scenes" if number % 5 == 0 else "even")
            if number % max(1, clips // 5) == 0 or number == 1:
                print(f"after {number} clips: {psutil.Process().memory_info().rss / 2**20:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[10, 120, 3600], help="clip lengths in seconds, multiples of 10"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[480, 1080, 2160], choices=WIDTHS)
    parser.add_argument("--counts", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--repeat", type=int, default=1, help="number of runs; the fastest one counts")
    parser.add_argument("--growth", type=int, metavar="CLIPS")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        tool, path, count, seconds = args.one
        print(json.dumps(measure(tool, path, int(count), float(seconds))))
    elif args.growth:
        growth(args.growth)
    else:
        compare(args.lengths, args.sizes, args.counts, args.repeat)


if __name__ == "__main__":
    main()

"""Longer clips, drawn: one event after another, each with its own scene. For tests and benchmarks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import av

from training.clips import random_clip
from training.questions import Event
from training.scenes import Scene, draw


def random_film(rng: random.Random, events: int, frames_each: int) -> tuple[list[Event], Iterator[Scene]]:
    """The events in order, and the scenes of all frames: `frames_each` for each event."""
    clips = [random_clip(rng, frames_each) for _ in range(events)]
    return [event for event, _ in clips], (scene for _, scenes in clips for scene in scenes)


def write_film(path: Path, scenes: Iterable[Scene], fps: int, size: int = 192, gop: int = 250) -> Path:
    """H.264, `size` px wide and high. `gop`: frames between two keyframes at most."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width = stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", gop
        for scene in scenes:
            container.mux(stream.encode(av.VideoFrame.from_image(draw(scene, size).convert("RGB"))))
        container.mux(stream.encode(None))
    return path

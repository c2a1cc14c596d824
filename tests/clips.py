"""Clips whose frames show their numbers as black and white blocks, so that a wrong frame is noticed."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

BITS = 10
TICK = Fraction(1, 1000)


def numbered(number: int, width: int = 160, height: int = 96) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """White blocks are ones, with the lowest bit at the left. Two rows, the second inverted, distinguish a readable frame from noise."""
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    block, half = width // BITS, height // 2
    for bit in range(BITS):
        on = 255 if number >> bit & 1 else 0
        pixels[:half, bit * block : (bit + 1) * block] = on
        pixels[half:, bit * block : (bit + 1) * block] = 255 - on
    return pixels


def number_in(image: Image.Image) -> int | None:
    """The number drawn into a frame; None where it cannot be read."""
    pixels = np.asarray(image.convert("L").resize((BITS * 8, 16), Image.Resampling.BOX), dtype=float)
    top = pixels[2:6].reshape(4, BITS, 8)[:, :, 2:6].mean((0, 2))
    bottom = pixels[10:14].reshape(4, BITS, 8)[:, :, 2:6].mean((0, 2))
    if (np.abs(top - bottom) < 60).any():
        return None
    return sum(1 << bit for bit in range(BITS) if top[bit] > bottom[bit])


def write_numbered(
    path: Path | io.BytesIO,
    count: int = 60,
    codec: str = "libx264",
    *,
    fps: int = 10,
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (160, 96),
    gop: int = 15,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
    sound_seconds: float = 0.0,
    prepare: Callable[[Any], None] | None = None,
) -> Path | io.BytesIO:
    """`times_ms`: when each frame is shown, where not evenly. `prepare(stream)` is called before the first frame."""
    target = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=container_format, options=container_options or {}) as container:
        sound = container.add_stream("aac", rate=8000) if sound_seconds else None
        if count:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, pixel_format, gop
            if times_ms is not None:
                stream.codec_context.time_base = TICK
            if prepare is not None:
                prepare(stream)
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
                if times_ms is not None:
                    frame.pts, frame.time_base = times_ms[number], TICK
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if sound is not None:
            samples = np.zeros((1, int(8000 * sound_seconds)), dtype=np.float32)
            noise = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            noise.sample_rate = 8000
            container.mux(sound.encode(noise))
            container.mux(sound.encode(None))
    return path


def remuxed(source: Path, target: Path, shift_seconds: float, **options: str) -> Path:
    """The same compressed frames with other times: what comes to stand below zero is hidden by an edit list (MP4)."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = old.streams.video[0]
        out = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.pts is None:
                continue
            ticks = round(shift_seconds / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + ticks, (packet.dts or 0) + ticks, out
            new.mux(packet)
    return target

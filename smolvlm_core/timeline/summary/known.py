"""Drawn clips with statements that are known to be true or false of them: whether a model can judge statements, and in which way.

Knows how to draw. Does not know models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw

SIZE = 192  # px
FRAMES = 4
_OVER = 4  # drawn this many times larger, for smooth edges
_COLORS = {"red": (220, 30, 30), "green": (30, 150, 50), "blue": (30, 70, 220), "yellow": (250, 215, 20)}
_LIGHT, _DARK = (250, 250, 250), (30, 30, 30)


@dataclass(frozen=True)
class Known:
    """A clip as its frames, what is true of it, and what is not."""

    frames: tuple[Image.Image, ...]
    true: str
    false: tuple[str, str]


@lru_cache(maxsize=1)
def known_clips() -> tuple[Known, ...]:
    return (
        _known("circle", "red", "moves to the right", (1, 0), ("blue", "circle", ""), ("", "", "moves to the left")),
        _known("triangle", "blue", "moves up", (0, -1), ("blue", "heart", ""), ("", "", "moves down")),
        _known("circle", "yellow", "stays still", (0, 0), ("green", "circle", ""), ("yellow", "star", ""), _DARK),
        _known("triangle", "green", "moves to the left", (-1, 0), ("red", "triangle", ""), ("green", "moon", "")),
    )


def _known(
    shape: str,
    color: str,
    does: str,
    way: tuple[int, int],
    first: tuple[str, str, str],
    second: tuple[str, str, str],
    background: tuple[int, int, int] = _LIGHT,
) -> Known:
    """`first` and `second`: what is false, as colour, shape and what it does; "" for what is true."""
    frames = []
    for number in range(FRAMES):
        along = (number / (FRAMES - 1) - 0.5) * 0.56
        frames.append(_drawn(shape, color, 0.5 + way[0] * along, 0.5 + way[1] * along, background))
    false = [_sentence(c or color, s or shape, d or does) for c, s, d in (first, second)]
    return Known(tuple(frames), _sentence(color, shape, does), (false[0], false[1]))


def _sentence(color: str, shape: str, does: str) -> str:
    return f"A {color} {shape} {does}."


def _drawn(shape: str, color: str, x: float, y: float, background: tuple[int, int, int]) -> Image.Image:
    side = SIZE * _OVER
    image = Image.new("RGB", (side, side), background)
    left, top, size = (x - 0.17) * side, (y - 0.17) * side, 0.34 * side
    pen = ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse((left, top, left + size, top + size), fill=_COLORS[color])
    else:
        corners = [(left + size / 2, top), (left + size, top + size * 0.92), (left, top + size * 0.92)]
        pen.polygon(corners, fill=_COLORS[color])
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)

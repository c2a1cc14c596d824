"""Pictures drawn for one question, and the question. Every canary is drawn fresh: nothing can have been memorised.

The right answer is drawn evenly from the options, apart from everything else. So whoever does not see the picture is
right at most once in as many as there are options, whatever it prefers to say.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIDE = 384  # px
COLORS = {"red": (220, 30, 30), "green": (30, 150, 50), "blue": (30, 70, 220), "yellow": (250, 215, 20)}
SHAPES = ("circle", "square", "triangle", "star")
BACKGROUNDS = ((255, 255, 255), (235, 235, 235), (25, 25, 25))


@dataclass(frozen=True)
class Canary:
    picture: Image.Image
    question: str
    options: tuple[str, ...]
    right: str


def draw_canary(rng: random.Random) -> Canary:
    color, shape = rng.choice(tuple(COLORS)), rng.choice(SHAPES)
    picture = _picture(rng, color, shape)
    if rng.random() < 0.5:
        return Canary(picture, f"What color is the {shape}?", tuple(COLORS), color)
    return Canary(picture, f"What shape is {color}?", SHAPES, shape)


def blank() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (255, 255, 255))


def _picture(rng: random.Random, color: str, shape: str) -> Image.Image:
    """Drawn at four times the size and scaled down: smooth edges."""
    scale = 4
    image = Image.new("RGB", (SIDE * scale, SIDE * scale), rng.choice(BACKGROUNDS))
    radius = rng.uniform(0.26, 0.36) * SIDE * scale
    x, y = (rng.uniform(0.4, 0.6) * SIDE * scale for _ in range(2))
    draw = ImageDraw.Draw(image)
    fill = COLORS[color]
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "square":
        half = radius * 0.85
        draw.rectangle((x - half, y - half, x + half, y + half), fill=fill)
    else:
        points, inner = (3, 0.5) if shape == "triangle" else (5, 0.4)
        draw.polygon(_star(x, y, radius, points, inner), fill=fill)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _star(x: float, y: float, radius: float, points: int, inner: float) -> list[tuple[float, float]]:
    """Corners of a star that stands on two points; with three points and half the radius inside, a triangle."""
    corners = []
    for i in range(2 * points):
        r = radius if i % 2 == 0 else radius * inner
        angle = math.pi * i / points - math.pi / 2
        corners.append((x + r * math.cos(angle), y + r * math.sin(angle)))
    return corners


def chosen(answer: str, options: Sequence[str]) -> str | None:
    """The one option that an answer names, however it is phrased; None where it names none, or several."""
    words = set(re.findall(r"[a-z]+", answer.lower()))
    named = [option for option in options if words & {option, f"{option}s"}]
    return named[0] if len(named) == 1 else None

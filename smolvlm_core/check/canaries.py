"""Test images and clips, each drawn for one question, and the question. Nothing can have been memorised.

The right answer is drawn evenly from the options, independently of everything else, and the options are named in a shuffled
order (except for the colours of clips: the bundled model then relies on the words). So a model that does not see is right at
most once in as many questions as there are options, whatever it prefers to say.
"""

from __future__ import annotations

import io
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from num2words import num2words
from PIL import Image, ImageDraw, ImageFont

Subject = Literal["shapes", "text", "clips"]
Rgb = tuple[int, int, int]
SIDE = 384  # px
SCALE = 4  # drawn this many times larger and averaged down, for smooth edges
OPTIONS = 4
COLORS = {"red": (220, 30, 30), "green": (30, 150, 50), "blue": (30, 70, 220), "yellow": (250, 215, 20)}
SHAPES = ("circle", "square", "triangle", "star")
WORDS = ("apple", "bread", "chair", "cloud", "fish", "house", "lamp", "milk", "paper", "river", "stone", "tree")
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
BACKGROUNDS = ((255, 255, 255), (235, 235, 235), (25, 25, 25))
CLIP_FRAMES = 4
CLIP_FRAME_SECONDS = 1.0
# Other words for an option, as models use them.
SAME: dict[str, tuple[str, ...]] = {str(n): (num2words(n),) for n in range(10)}
SAME |= {way: (f"{way}ward", f"{way}wards") for way in WAYS}


@dataclass(frozen=True)
class Canary:
    """A test image, or the frames of a test clip in order, one a second. PNG, since verdicts keep them."""

    subject: Subject
    encoded: tuple[bytes, ...]
    question: str
    options: tuple[str, ...]
    right: str

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        return tuple(Image.open(io.BytesIO(png)) for png in self.encoded)

    def blank(self) -> tuple[Image.Image, ...]:
        return tuple(Image.new("RGB", (SIDE, SIDE), (255, 255, 255)) for _ in self.encoded)


def draw_canary(rng: random.Random, subject: Subject = "shapes") -> Canary:
    return {"shapes": _of_shapes, "text": _of_text, "clips": _of_clips}[subject](rng)


def chosen(answer: str, options: Sequence[str]) -> str | None:
    """The one option that an answer names, however it is phrased. None where it names none, or several."""
    said = set(re.findall(r"[a-z]+|\d+", answer.lower()))
    named = [option for option in options if said & {option, f"{option}s", *SAME.get(option, ())}]
    return named[0] if len(named) == 1 else None


def _canary(
    rng: random.Random,
    subject: Subject,
    pictures: Sequence[Image.Image],
    question: str,
    options: Sequence[str],
    right: str,
    *,
    named: bool = True,
) -> Canary:
    shuffled = rng.sample(tuple(options), len(options))
    listed = f"{', '.join(shuffled[:-1])} or {shuffled[-1]}"
    text = f"{question} Answer with one word: {listed}." if named else question
    return Canary(subject, tuple(map(_png, pictures)), text, tuple(shuffled), right)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _of_shapes(rng: random.Random) -> Canary:
    color, shape = rng.choice(tuple(COLORS)), rng.choice(SHAPES)
    x, y = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6)
    picture = _picture(rng.choice(BACKGROUNDS), color, shape, x, y, rng.uniform(0.26, 0.36))
    if rng.random() < 0.5:
        return _canary(rng, "shapes", [picture], f"What color is the {shape}?", tuple(COLORS), color)
    return _canary(rng, "shapes", [picture], f"What shape is {color}?", SHAPES, shape)


def _of_text(rng: random.Random) -> Canary:
    """A large digit, or a short word."""
    if rng.random() < 0.5:
        options = [str(n) for n in rng.sample(range(10), OPTIONS)]
        return _canary(rng, "text", [_written(rng, options[0])], "Which digit is in the image?", options, options[0])
    options = rng.sample(WORDS, OPTIONS)
    question = "Which word is written in the image?"
    return _canary(rng, "text", [_written(rng, options[0])], question, options, options[0])


def _of_clips(rng: random.Random) -> Canary:
    """A shape that moves along an edge, or that changes its colour. Both colours are among the options, and two directions
    begin and two end in each corner. So a model that sees a single frame, or all of them without their order, is right half the time."""
    background, shape, radius = rng.choice(BACKGROUNDS), rng.choice(SHAPES), rng.uniform(0.16, 0.22)
    if rng.random() < 0.5:
        color, way = rng.choice(tuple(COLORS)), rng.choice(tuple(WAYS))
        start = rng.uniform(0.2, 0.3)
        across = rng.choice((start, 1 - start))
        frames = []
        for i in range(CLIP_FRAMES):
            along = start + 0.5 * i / (CLIP_FRAMES - 1)
            dx, dy = WAYS[way]
            x, y = ((along if dx > 0 else 1 - along), across) if dx else (across, (along if dy > 0 else 1 - along))
            frames.append(_picture(background, color, shape, x, y, radius))
        return _canary(rng, "clips", frames, f"Which way does the {shape} move?", tuple(WAYS), way)
    colors = rng.sample(tuple(COLORS), 2)
    x, y = rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65)
    turns = rng.randint(1, CLIP_FRAMES - 1)
    frames = [_picture(background, colors[i >= turns], shape, x, y, radius * 1.4) for i in range(CLIP_FRAMES)]
    end = rng.random() < 0.5
    question = f"What is the color of the {shape} at the {'end' if end else 'start'}?"
    return _canary(rng, "clips", frames, question, tuple(COLORS), colors[end], named=False)


def _picture(background: Rgb, color: str, shape: str, x: float, y: float, radius: float) -> Image.Image:
    """Centre and radius in fractions of the side."""
    side = SIDE * SCALE
    image = Image.new("RGB", (side, side), background)
    x, y, radius = x * side, y * side, radius * side
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
    return image.reduce(SCALE)


def _star(x: float, y: float, radius: float, points: int, inner: float) -> list[tuple[float, float]]:
    """Corners of a star that stands on two points. Three points with half the radius inside make a triangle."""
    corners = []
    for i in range(2 * points):
        r = radius if i % 2 == 0 else radius * inner
        angle = math.pi * i / points - math.pi / 2
        corners.append((x + r * math.cos(angle), y + r * math.sin(angle)))
    return corners


def _written(rng: random.Random, text: str) -> Image.Image:
    background = rng.choice(BACKGROUNDS)
    ink = (255, 255, 255) if sum(background) < 300 else (0, 0, 0)
    image = Image.new("RGB", (SIDE, SIDE), background)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(rng.uniform(0.4, 0.6) * SIDE if len(text) == 1 else rng.uniform(0.2, 0.25) * SIDE)
    x, y = rng.uniform(0.45, 0.55) * SIDE, rng.uniform(0.4, 0.6) * SIDE
    draw.text((x, y), text, ink, font, anchor="mm")
    return image

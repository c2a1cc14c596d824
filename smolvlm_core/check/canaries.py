"""Test images and clips, newly drawn each time, with two questions about each. Nothing can have been memorised.

Each right answer is drawn evenly from the options, independently of everything else, and the options are named in a shuffled
order (except for the colours of clips: the bundled model then relies on the words). So a model that does not see is right at
most once in as many questions as there are options, whatever it prefers to say. Neither question about an image says anything
about the answer to the other, so such a model is right or wrong about each independently.

Images are strips, four times as wide as high. SmolVLM2 enlarges every image until its longer side is four tiles: a strip becomes
four tiles and an overview, a square sixteen. Everything on a strip lies within one tile, which shows it undistorted. The overview
squeezes it to a quarter of its width, so no shape is among the options whose name would then be another: a square.
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
STRIP = (1024, 256)  # px
FRAME = (512, 256)  # px: SmolVLM2 makes a frame square, as it does those of wide-screen clips
COLUMNS = STRIP[0] // STRIP[1]
SCALE = 4  # drawn this many times larger and averaged down, for smooth edges
OPTIONS = 4
COLORS = {"red": (220, 30, 30), "green": (30, 150, 50), "blue": (30, 70, 220), "yellow": (250, 215, 20)}
SHAPES = ("circle", "triangle", "star", "heart")
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
    """A question, and its test image or the frames of its test clip in order, one a second. PNG, since verdicts keep them."""

    subject: Subject
    encoded: tuple[bytes, ...]
    question: str
    options: tuple[str, ...]
    right: str

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        return tuple(Image.open(io.BytesIO(png)) for png in self.encoded)

    def blank(self) -> tuple[Image.Image, ...]:
        """White pictures in place of its own: the same bytes for each subject, so a server's cache finds them again."""
        return tuple(Image.new("RGB", picture.size, (255, 255, 255)) for picture in self.pictures)


@dataclass(frozen=True)
class _Question:
    text: str
    options: Sequence[str]
    right: str
    named: bool = True  # whether the options are named


def draw_canaries(rng: random.Random, subject: Subject = "shapes") -> tuple[Canary, Canary]:
    """A new test image or clip with its two questions, in random order."""
    pictures, questions = {"shapes": _of_shapes, "text": _of_text, "clips": _of_clips}[subject](rng)
    encoded = tuple(map(_png, pictures))
    first, second = rng.sample(questions, 2)
    return _canary(rng, subject, encoded, first), _canary(rng, subject, encoded, second)


def chosen(answer: str, options: Sequence[str]) -> str | None:
    """The one option that an answer names, however it is phrased. None where it names none, or several."""
    said = set(re.findall(r"[a-z]+|\d+", answer.lower()))
    named = [option for option in options if said & {option, f"{option}s", *SAME.get(option, ())}]
    return named[0] if len(named) == 1 else None


def _canary(rng: random.Random, subject: Subject, encoded: tuple[bytes, ...], question: _Question) -> Canary:
    shuffled = rng.sample(tuple(question.options), len(question.options))
    listed = f"{', '.join(shuffled[:-1])} or {shuffled[-1]}"
    text = f"{question.text} Answer with one word: {listed}." if question.named else question.text
    return Canary(subject, encoded, text, tuple(shuffled), question.right)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _of_shapes(rng: random.Random) -> tuple[list[Image.Image], list[_Question]]:
    """One shape, in any of the strip's tiles."""
    color, shape = rng.choice(tuple(COLORS)), rng.choice(SHAPES)
    x, y = rng.randrange(COLUMNS) + rng.uniform(0.4, 0.6), rng.uniform(0.45, 0.55)
    picture = _picture(STRIP, rng.choice(BACKGROUNDS), color, shape, x, y, rng.uniform(0.26, 0.36))
    return [picture], [
        _Question("What color is the shape?", tuple(COLORS), color),
        _Question("What shape is in the image?", SHAPES, shape),
    ]


def _of_text(rng: random.Random) -> tuple[list[Image.Image], list[_Question]]:
    """A large digit and a short word, each in a tile of its own."""
    digits, words = [str(n) for n in rng.sample(range(10), OPTIONS)], rng.sample(WORDS, OPTIONS)
    return [_written(rng, digits[0], words[0])], [
        _Question("Which digit is in the image?", digits, digits[0]),
        _Question("Which word is written in the image?", words, words[0]),
    ]


def _of_clips(rng: random.Random) -> tuple[list[Image.Image], list[_Question]]:
    """A shape that moves along an edge and changes its colour on the way. Both colours are among the options, and two directions
    begin and two end in each corner. So a model that sees a single frame, or all of them without their order, is right half the time."""
    background, shape, radius = rng.choice(BACKGROUNDS), rng.choice(SHAPES), rng.uniform(0.16, 0.22)
    way, colors = rng.choice(tuple(WAYS)), rng.sample(tuple(COLORS), 2)
    start = rng.uniform(0.2, 0.3)
    across = rng.choice((start, 1 - start))
    turns = rng.randint(1, CLIP_FRAMES - 1)
    frames = []
    for i in range(CLIP_FRAMES):
        along = start + 0.5 * i / (CLIP_FRAMES - 1)
        dx, dy = WAYS[way]
        x, y = ((along if dx > 0 else 1 - along), across) if dx else (across, (along if dy > 0 else 1 - along))
        frames.append(_picture(FRAME, background, colors[i >= turns], shape, x * FRAME[0] / FRAME[1], y, radius))
    end = rng.random() < 0.5
    return frames, [
        _Question(f"Which way does the {shape} move?", tuple(WAYS), way),
        _Question(
            f"What is the color of the {shape} at the {'end' if end else 'start'}?",
            tuple(COLORS),
            colors[end],
            named=False,
        ),
    ]


def _picture(
    size: tuple[int, int], background: Rgb, color: str, shape: str, x: float, y: float, radius: float
) -> Image.Image:
    """Centre and radius in fractions of the height."""
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), background)
    x, y, radius = (value * size[1] * SCALE for value in (x, y, radius))
    draw = ImageDraw.Draw(image)
    fill = COLORS[color]
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "heart":
        draw.polygon(_heart(x, y, radius), fill=fill)
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


def _heart(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Two half circles on top of a point, as a polygon of many corners."""
    corners = []
    for i in range(120):
        t = math.pi * i / 60
        depth = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append((x + radius * math.sin(t) ** 3, y - radius * depth / 16))
    return corners


def _written(rng: random.Random, digit: str, word: str) -> Image.Image:
    background = rng.choice(BACKGROUNDS)
    ink = (255, 255, 255) if sum(background) < 300 else (0, 0, 0)
    image = Image.new("RGB", STRIP, background)
    draw = ImageDraw.Draw(image)
    side = STRIP[1]
    places = zip((digit, word), rng.sample(range(COLUMNS), 2), (rng.uniform(0.5, 0.7), rng.uniform(0.27, 0.32)))
    for text, column, height in places:
        font = ImageFont.load_default(height * side)
        room = (1 - draw.textlength(text, font) / side) * 0.4
        x, y = column + 0.5 + rng.uniform(-room, room), rng.uniform(0.45, 0.55)
        draw.text((x * side, y * side), text, ink, font, anchor="mm")
    return image

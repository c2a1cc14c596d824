"""Scenes of coloured shapes, drawn with known answers.

Knows how to lay out and draw a scene and which words describe it. Does not know questions, tokens or models.
Coordinates are fractions of the picture's side: (0, 0) is the top left, (1, 1) the bottom right.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Points = NDArray[np.float64]  # (n, 2)

SHAPES = ("circle", "square", "rectangle", "triangle", "star", "diamond", "cross", "heart", "ring", "moon")

# Several anchors for each name: what people, CSS and easy-VQA call by that name.
COLORS: dict[str, tuple[Rgb, ...]] = {
    "red": ((255, 0, 0), (220, 20, 40), (215, 45, 40)),
    "orange": ((255, 140, 0), (255, 165, 0), (245, 125, 20)),
    "yellow": ((255, 255, 0), (250, 225, 30), (255, 235, 60)),
    "green": ((0, 255, 0), (0, 128, 0), (34, 150, 40), (60, 200, 70)),
    "teal": ((0, 128, 128), (0, 140, 135), (20, 120, 120)),
    "cyan": ((0, 255, 255), (30, 225, 240), (0, 215, 235)),
    "blue": ((0, 0, 255), (30, 60, 220), (40, 90, 225), (15, 15, 160)),
    "purple": ((128, 0, 128), (140, 30, 200), (110, 40, 160)),
    "pink": ((255, 192, 203), (255, 105, 180), (250, 150, 195)),
    "brown": ((165, 42, 42), (139, 69, 19), (120, 72, 40)),
    "black": ((0, 0, 0), (18, 18, 20)),
    "gray": ((128, 128, 128), (115, 115, 115), (150, 150, 150)),
    "white": ((255, 255, 255), (246, 246, 246)),
}

# A picture with another aspect ratio than its tiles is squashed onto them. Beyond this ratio of its sides, a square looks like a rectangle
# in a picture that was not squashed, and nothing in the tiles shows which it was.
MOST_SQUASH = 1.15

PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
SMALL = (0.13, 0.185)
LARGE = (0.27, 0.38)


@dataclass(frozen=True)
class Thing:
    """One shape in a scene: `size` is its extent and (`x`, `y`) its centre, in fractions of the side."""

    shape: str
    color: str
    rgb: Rgb
    size: float
    x: float
    y: float
    rotation: float = 0.0  # radians
    aspect: float = 1.0  # rectangles: long side / short side
    outline: Rgb | None = None

    @property
    def size_word(self) -> str | None:
        """'small' or 'large'; None for a size in between, which no question is about."""
        if SMALL[0] <= self.size <= SMALL[1]:
            return "small"
        return "large" if self.size >= LARGE[0] else None

    @property
    def place(self) -> str:
        return PLACES[min(2, int(self.y * 3))][min(2, int(self.x * 3))]

    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]
    background: tuple[Rgb, Rgb]  # the two ends of a gradient, equal where it is plain
    gradient_angle: float = 0.0
    noise: float = 0.0  # standard deviation, in grey levels, over the whole picture
    noise_seed: int = 0


@functools.lru_cache(maxsize=256)
def _outline_points(shape: str, aspect: float) -> tuple[Points, ...]:
    """The shape's outer polygon, then any that is cut out of it, in [-1, 1]²."""
    circle = _circle(0.0, 0.0, 1.0)
    if shape == "circle":
        return (circle,)
    if shape == "ring":
        return (circle, circle * 0.58)
    if shape == "moon":
        return (circle, _circle(0.45, -0.1, 0.82))
    if shape == "square":
        return (np.array([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]),)
    if shape == "rectangle":
        short = 1.0 / aspect
        return (np.array([(-1, -short), (1, -short), (1, short), (-1, short)]),)
    if shape == "diamond":
        return (np.array([(0, -1.0), (0.78, 0), (0, 1.0), (-0.78, 0)]),)
    if shape == "triangle":
        return (np.array([(0, -1.0), (aspect * 0.95, 0.85), (-aspect * 0.95, 0.85)]),)
    if shape == "star":
        angles = np.arange(10) * math.pi / 5 - math.pi / 2
        radii = np.where(np.arange(10) % 2 == 0, 1.05, 0.44)
        return (np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1),)
    if shape == "cross":
        w = 0.34
        corners = [
            (-w, -1),
            (w, -1),
            (w, -w),
            (1, -w),
            (1, w),
            (w, w),
            (w, 1),
            (-w, 1),
            (-w, w),
            (-1, w),
            (-1, -w),
            (-w, -w),
        ]
        return (np.array(corners, dtype=float),)
    if shape == "heart":
        t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
        x = np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
        return (np.stack([x, y], 1),)
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")


def _circle(x: float, y: float, radius: float) -> Points:
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)


def mask_of(
    thing: Thing, width: int, height: int, *, grow_px: float = 0.0, squash: tuple[float, float] = (1.0, 1.0)
) -> tuple[Image.Image, int, int]:
    """Anti-aliased coverage of a thing in a `width` × `height` px picture: (8-bit mask, left, top).

    Its size is a fraction of the shorter side. `squash` scales it across and down, as a wide picture looks once
    it is made square.
    """
    over = 4
    radius = thing.size * min(width, height) / 2 + grow_px
    half = math.ceil(radius * 1.35) + 1
    center_x, center_y = thing.x * width, thing.y * height
    left, top = int(center_x) - half, int(center_y) - half
    canvas = Image.new("L", (2 * half * over, 2 * half * over))
    pen = ImageDraw.Draw(canvas)
    cos, sin = math.cos(thing.rotation), math.sin(thing.rotation)
    turn = np.array([[cos, sin], [-sin, cos]]) * np.array(squash)
    offset = np.array([center_x - left, center_y - top]) * over
    for i, polygon in enumerate(_outline_points(thing.shape, thing.aspect)):
        points = polygon @ turn * (radius * over) + offset
        pen.polygon([(float(x), float(y)) for x, y in points], fill=0 if i else 255)
    return canvas.reduce(over), left, top


def draw(scene: Scene, width: int, height: int | None = None) -> Image.Image:
    """The scene as an RGB picture of `width` × `height` px (square where no height is given)."""
    height = height or width
    picture = Image.fromarray(_background(scene, width, height))
    for thing in scene.things:
        if thing.outline is not None:
            mask, left, top = mask_of(thing, width, height, grow_px=1.25)
            picture.paste(thing.outline, (left, top), mask)
        mask, left, top = mask_of(thing, width, height)
        picture.paste(thing.rgb, (left, top), mask)
    if scene.noise:
        grain = np.random.default_rng(scene.noise_seed).normal(0, scene.noise, (height, width, 3))
        picture = Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))
    return picture


def _background(scene: Scene, width: int, height: int) -> NDArray[np.uint8]:
    first, last = (np.array(end, dtype=np.float32) for end in scene.background)
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    mix = across * math.cos(scene.gradient_angle) + down * math.sin(scene.gradient_angle)
    mix = np.clip(mix + 0.5, 0, 1)[..., None]
    return (first + (last - first) * mix).astype(np.uint8)


def shapes_for(squash: float) -> tuple[str, ...]:
    """Shapes that can be distinguished in a picture whose sides are scaled by different factors, with this ratio (1.0: equal)."""
    if max(squash, 1 / squash) <= MOST_SQUASH:
        return SHAPES
    return tuple(shape for shape in SHAPES if shape not in ("square", "rectangle"))


def random_scene(
    rng: random.Random,
    count: int | None = None,
    *,
    shapes: Sequence[str] = SHAPES,
    alike: bool = False,
) -> Scene:
    """One to five shapes that do not overlap. `alike`: they share two or three shapes and colours, so that only shape and colour together
    identify each, and there is more than one to count."""
    count = count or rng.choice((1, 1, 2, 2, 3, 3, 4, 5))
    background, angle = random_background(rng)
    colors: Sequence[str] = tuple(COLORS)
    if alike:
        shapes = rng.sample(shapes, rng.choice((1, 2, 2, 3)))
        colors = [random_color(rng, background)[0] for _ in range(rng.choice((1, 2, 2, 3)))]
    things: list[Thing] = []
    for _ in range(count * 60):
        if len(things) == count:
            break
        size = rng.uniform(*LARGE) if rng.random() < (0.5 if count < 4 else 0.3) else rng.uniform(*SMALL)
        if count == 1 and rng.random() < 0.4:
            size = rng.uniform(0.2, 0.7)
        thing = random_thing(rng, background, size, shapes, colors)
        if not any(_too_close(thing, other) for other in things):
            things.append(thing)
    noise = rng.uniform(2, 14) if rng.random() < 0.3 else 0.0
    return Scene(tuple(things), background, angle, noise, rng.randrange(1 << 30))


def random_background(rng: random.Random) -> tuple[tuple[Rgb, Rgb], float]:
    kind = rng.random()
    if kind < 0.35:
        base = (255, 255, 255) if rng.random() < 0.5 else tuple(rng.randint(228, 255) for _ in range(3))
    elif kind < 0.5:
        base = tuple(rng.randint(0, 45) for _ in range(3))
    else:
        base = tuple(rng.randint(20, 235) for _ in range(3))
    first: Rgb = (base[0], base[1], base[2])
    if rng.random() < 0.65:
        return (first, first), 0.0
    last = tuple(min(255, max(0, c + rng.randint(-70, 70))) for c in first)
    return (first, (last[0], last[1], last[2])), rng.uniform(0, 2 * math.pi)


def random_thing(
    rng: random.Random,
    background: tuple[Rgb, Rgb],
    size: float,
    shapes: Sequence[str] = SHAPES,
    colors: Sequence[str] = tuple(COLORS),
) -> Thing:
    """A shape of that size that stands out from the background and is clearly in one of the 3 × 3 places.

    At least one of `colors` must stand out from the background.
    """
    color, rgb = random_color(rng, background, colors)
    shape = rng.choice(shapes)
    rotation, aspect = _random_pose(rng, shape)
    outline = None
    if rng.random() < 0.08:
        outline = (0, 0, 0) if sum(rgb) > 200 else (255, 255, 255)
    return Thing(shape, color, rgb, size, _coordinate(rng, size), _coordinate(rng, size), rotation, aspect, outline)


def random_color(
    rng: random.Random, background: tuple[Rgb, Rgb], colors: Sequence[str] = tuple(COLORS)
) -> tuple[str, Rgb]:
    while True:
        color = rng.choice(colors)
        anchor = rng.choice(COLORS[color])
        spread = 0 if rng.random() < 0.4 else 10
        rgb = tuple(min(255, max(0, c + rng.randint(-spread, spread))) for c in anchor)
        if all(math.dist(rgb, end) > 85 for end in background):
            return color, (rgb[0], rgb[1], rgb[2])


def _random_pose(rng: random.Random, shape: str) -> tuple[float, float]:
    upright = rng.random() < 0.5
    if shape == "rectangle":
        rotation = rng.choice((0.0, math.pi / 2)) + (0.0 if upright else rng.uniform(-0.6, 0.6))
        return rotation, rng.uniform(1.5, 2.6)
    if shape == "triangle":
        return (0.0 if upright else rng.uniform(0, 2 * math.pi)), rng.uniform(0.75, 1.1)
    if shape in ("star", "ring", "circle"):
        return (0.0 if upright else rng.uniform(0, 2 * math.pi)), 1.0
    limit = {"square": 0.2, "diamond": 0.12, "cross": 0.2, "heart": 0.35, "moon": 0.9}[shape]
    return (0.0 if upright else rng.uniform(-limit, limit)), 1.0


def _coordinate(rng: random.Random, size: float) -> float:
    """A centre that keeps the shape inside the picture and at least 0.04 from the lines between places."""
    low = size * 0.52
    for _ in range(100):
        value = rng.uniform(low, 1 - low)
        if min(abs(value - 1 / 3), abs(value - 2 / 3)) > 0.04:
            return value
    return 0.5


def _too_close(a: Thing, b: Thing) -> bool:
    return math.dist((a.x, a.y), (b.x, b.y)) < (a.size + b.size) * 0.56 + 0.015


def moved(scene: Scene, index: int, **changes: object) -> Scene:
    """The scene with one shape changed."""
    things = list(scene.things)
    things[index] = replace(things[index], **changes)  # type: ignore[arg-type]
    return replace(scene, things=tuple(things))

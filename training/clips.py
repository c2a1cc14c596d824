"""Short clips of one event: a shape moves, changes colour, appears, disappears or stays still."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from training.questions import Event
from training.scenes import SHAPES, Scene, moved, random_background, random_color, random_thing

DIRECTIONS = {"to the left": (-1, 0), "to the right": (1, 0), "up": (0, -1), "down": (0, 1)}
KINDS = ("move", "move", "move", "recolor", "recolor", "appear", "disappear", "still")


def random_event(rng: random.Random) -> Event:
    return random_clip(rng, 2)[0]


def random_clip(rng: random.Random, frames: int, shapes: Sequence[str] = SHAPES) -> tuple[Event, list[Scene]]:
    """One event and the scene of each of its frames, in order."""
    background, angle = random_background(rng)
    thing = random_thing(rng, background, rng.uniform(0.2, 0.42), shapes)
    noise = rng.uniform(2, 10) if rng.random() < 0.2 else 0.0
    base = Scene((thing,), background, angle, noise, rng.randrange(1 << 30))
    kind = rng.choice(KINDS)
    if kind == "move":
        name = rng.choice(tuple(DIRECTIONS))
        return Event(kind, thing, name), _moving(rng, base, DIRECTIONS[name], frames)
    if kind == "still":
        return Event(kind, thing), [replace(base, noise_seed=base.noise_seed + i) for i in range(frames)]
    change = rng.uniform(0.3, 0.7) * frames
    after = [i >= max(1, min(frames - 1, round(change))) for i in range(frames)]
    if kind == "recolor":
        while (last := random_color(rng, background))[0] == thing.color:
            pass
        scenes = [moved(base, 0, color=last[0], rgb=last[1]) if later else base for later in after]
        return Event(kind, thing, last[0]), scenes
    there = after if kind == "appear" else [not later for later in after]
    return Event(kind, thing), [base if shown else replace(base, things=()) for shown in there]


def _moving(rng: random.Random, base: Scene, direction: tuple[int, int], frames: int) -> list[Scene]:
    thing = base.things[0]
    half = thing.size * 0.52
    start, end = half + rng.uniform(0, 0.1), 1 - half - rng.uniform(0, 0.1)
    drift = rng.uniform(-0.06, 0.06)
    out = []
    for i in range(frames):
        along = start + (end - start) * i / max(1, frames - 1)
        dx, dy = direction
        x = (along if dx > 0 else 1 - along) if dx else thing.x + drift * i / frames
        y = (along if dy > 0 else 1 - along) if dy else thing.y + drift * i / frames
        out.append(moved(base, 0, x=x, y=y))
    return out

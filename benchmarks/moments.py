"""How well moments are found in drawn clips whose moments are known: those found within one sampling interval, and false alarms.

    python -m benchmarks.moments [--clips 20] [--interval 0.5] [--model smolvlm-shapes] [--seed 7100000] [--verbose]

Clips of 20 to 60 s, 10 frames a second, from seeds that training never uses: a shape appears and disappears several times beside
up to two other shapes; a shape changes its color; a shape sweeps to and fro and turns; and clips in which the shape that is asked
about never appears, while others do that have its color or its form.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from smolvlm_core.timeline.moments.curve import Curve
from smolvlm_core.timeline.moments.find import find_moments
from smolvlm_core.timeline.moments.plan import plan_for
from smolvlm_core.timeline.moments.wording import wording_of
from smolvlm_core.video import open_clip
from smolvlm_core.workspace import Workspace
from training.clips import DIRECTIONS
from training.films import write_film
from training.scenes import COLORS, SHAPES, Scene, Thing, moved, random_color, random_scene

FPS = 10
SHORTEST, LONGEST = 2.0, 8.0  # seconds that something lasts
SWEEP_SECONDS = (3.0, 6.0)


@dataclass(frozen=True, kw_only=True)
class Story:
    """A clip: `scenes` of its frames, and the questions with the times at which the answer changes, in seconds."""

    kind: str
    scenes: list[Scene]
    asked: dict[str, list[float]]


@dataclass
class Score:
    """`late`: seconds between each moment that was found and the known one."""

    clips: int = 0
    moments: int = 0
    found: int = 0
    false: int = 0
    late: list[float] = field(default_factory=list)
    questions: int = 0


def spans(rng: random.Random, seconds: float, shortest: float = SHORTEST, longest: float = LONGEST) -> list[float]:
    """Times on frames at which something changes, the last one well before the end."""
    times, at = [], 0.0
    while True:
        at += rng.uniform(shortest, longest)
        if at > seconds - shortest:
            return times
        times.append(round(at * FPS) / FPS)


def appearing(rng: random.Random) -> Story:
    seconds, base, target = rng.uniform(20, 60), *_with_target(rng)
    changes = spans(rng, seconds)
    there_first = rng.random() < 0.3
    without = replace(base, things=tuple(thing for thing in base.things if thing is not target))
    scenes = [
        base if (sum(time <= i / FPS for time in changes) % 2 == 1) != there_first else without
        for i in range(int(seconds * FPS))
    ]
    begins, ends = (changes[1::2], changes[::2]) if there_first else (changes[::2], changes[1::2])
    name = target.name()
    asked = {f"When does the {name} appear?": begins, f"When does the {name} disappear?": ends}
    return Story(kind="appear, disappear", scenes=_with_noise(scenes), asked=asked)


def recoloring(rng: random.Random) -> Story:
    seconds, base, target = rng.uniform(20, 60), *_with_target(rng, own_shape=True)
    changes = spans(rng, seconds)
    at = base.things.index(target)
    palette = [(target.color, target.rgb)]
    while len(palette) < 3:
        color = random_color(rng, base.background)
        if color[0] not in [name for name, _ in palette]:
            palette.append(color)
    shown = [palette[0]]
    for _ in changes:
        shown.append(rng.choice([color for color in palette if color is not shown[-1]]))
    scenes = []
    for i in range(int(seconds * FPS)):
        name, rgb = shown[sum(time <= i / FPS for time in changes)]
        scenes.append(moved(base, at, color=name, rgb=rgb))
    asked = {f"When does the {target.shape} change color?": changes}
    for name, _ in palette[1:]:
        asked[f"When does the {target.shape} turn {name}?"] = [t for t, s in zip(changes, shown[1:]) if s[0] == name]
    return Story(kind="change color", scenes=_with_noise(scenes), asked=asked)


def turning(rng: random.Random) -> Story:
    """One shape that sweeps across the picture, and turns at its sides."""
    while True:
        base = random_scene(rng, 1)
        thing = base.things[0]
        if 0.2 <= thing.size <= 0.42:
            break
    half = thing.size * 0.52
    x, y = (rng.choice((half + rng.uniform(0, 0.1), 1 - half - rng.uniform(0, 0.1))) for _ in range(2))
    seconds, at, before = rng.uniform(20, 60), 0.0, ""
    scenes: list[Scene] = []
    changes: list[float] = []
    while at < seconds:
        ways = [w for w, (dx, dy) in DIRECTIONS.items() if w != before and (dx * (0.5 - x) > 0 or dy * (0.5 - y) > 0)]
        way = rng.choice(ways)
        dx, dy = DIRECTIONS[way]
        far = 1 - half - rng.uniform(0, 0.1)
        to_x, to_y = (far if dx > 0 else 1 - far) if dx else x, (far if dy > 0 else 1 - far) if dy else y
        if before:
            changes.append(len(scenes) / FPS)
        count = round(rng.uniform(*SWEEP_SECONDS) * FPS)
        scenes += [moved(base, 0, x=x + (to_x - x) * i / count, y=y + (to_y - y) * i / count) for i in range(count)]
        x, y, before, at = to_x, to_y, way, len(scenes) / FPS
    asked = {f"When does the {thing.shape} change direction?": changes}
    return Story(kind="change direction", scenes=_with_noise(scenes), asked=asked)


def never(rng: random.Random) -> Story:
    """Other shapes come and go; of the one that is asked about, some have the color or the form."""
    seconds = rng.uniform(20, 60)
    base = random_scene(rng, rng.choice((1, 2, 3)))
    times = [spans(rng, seconds) for _ in base.things]
    scenes = [
        replace(
            base,
            things=tuple(t for t, changes in zip(base.things, times) if sum(c <= i / FPS for c in changes) % 2 == 0),
        )
        for i in range(int(seconds * FPS))
    ]
    names = {thing.name() for thing in base.things}
    shapes = [s for s in SHAPES if not (s == "rectangle" and any(t.shape == "square" for t in base.things))]
    while True:
        like = rng.choice(base.things)
        color, shape = rng.choice(
            (
                (like.color, rng.choice(shapes)),
                (rng.choice(list(COLORS)), like.shape),
                (rng.choice(list(COLORS)), rng.choice(shapes)),
            )
        )
        if f"{color} {shape}" not in names:
            break
    return Story(kind="never there", scenes=_with_noise(scenes), asked={f"When does the {color} {shape} appear?": []})


def _with_target(rng: random.Random, *, own_shape: bool = False) -> tuple[Scene, Thing]:
    """A scene, and a shape of it that no other has the name of (`own_shape`: nor the form)."""
    while True:
        scene = random_scene(rng, rng.choice((1, 1, 2, 3)))
        target = rng.choice(scene.things)
        others = [thing for thing in scene.things if thing is not target]
        same = [t for t in others if t.shape == target.shape and (own_shape or t.color == target.color)]
        boxes = target.shape == "rectangle" and any(t.shape == "square" for t in others)
        if not same and not boxes:
            return scene, target


def _with_noise(scenes: Sequence[Scene]) -> list[Scene]:
    """Grain that differs from frame to frame."""
    return [replace(scene, noise_seed=scene.noise_seed + i) for i, scene in enumerate(scenes)]


STORIES: dict[str, Callable[[random.Random], Story]] = {
    "appear, disappear": appearing,
    "change color": recoloring,
    "change direction": turning,
    "never there": never,
}


def compare(curve: Curve, known: Sequence[float], score: Score) -> list[str]:
    """Count what was found within one interval. Returns what went wrong, in words."""
    left = [moment.seconds for moment in curve.moments]
    wrong = []
    for time_known in known:
        near = min(left, key=lambda time: abs(time - time_known), default=None)
        if near is not None and abs(near - time_known) <= curve.interval_seconds + 1e-6:
            left.remove(near)
            score.found += 1
            score.late.append(abs(near - time_known))
        else:
            wrong.append(f"missed {time_known:.1f}")
    score.moments += len(known)
    score.false += len(left)
    score.questions += curve.questions
    return wrong + [f"false {time:.1f}" for time in left]


def stories(kind: str, clips: int, seed: int) -> Iterator[Story]:
    for number in range(clips):
        yield STORIES[kind](random.Random(seed + number))


def measure(kind: str, args: argparse.Namespace, workspace: Workspace, folder: Path) -> Score:
    backend = workspace.registry.find(args.model).make(workspace.pool)
    score = Score()
    for number, story in enumerate(stories(kind, args.clips, args.seed)):
        path = write_film(folder / "clip.mp4", story.scenes, FPS)
        clip = open_clip(path)
        clip.close()
        score.clips += 1
        for question, known in story.asked.items():
            wording = wording_of(question)
            plan = plan_for(clip.facts, wording, args.interval)
            curve = find_moments(path, clip.facts, wording, backend, plan, threading.Event())
            wrong = compare(curve, known, score)
            if args.verbose and wrong:
                print(f"  {args.seed + number} {question} {known} {', '.join(wrong)}", file=sys.stderr)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--clips", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--interval", type=float, help="seconds between two frames (default: as the app, by length)")
    parser.add_argument("--model", default="smolvlm-shapes")
    parser.add_argument("--seed", type=int, default=7_100_000)
    parser.add_argument("--kind", choices=list(STORIES), action="append", help="only these kinds of clips")
    parser.add_argument("--verbose", action="store_true", help="print what was missed")
    args = parser.parse_args()
    workspace = Workspace()
    print(
        f"{'':20}{'clips':>6}{'moments':>9}{'found':>14}{'false alarms':>14}{'median error':>14}{'questions':>11}{'time':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kind or STORIES:
            began = time.monotonic()
            score = measure(kind, args, workspace, Path(folder))
            share = f"{score.found} ({score.found / score.moments:.1%})" if score.moments else "–"
            late = f"{sorted(score.late)[len(score.late) // 2]:.2f} s" if score.late else "–"
            print(
                f"{kind:20}{score.clips:>6}{score.moments:>9}{share:>14}{score.false:>14}{late:>14}{score.questions:>11,}"
                f"{time.monotonic() - began:>7.0f}s",
                flush=True,
            )
    workspace.close()


if __name__ == "__main__":
    main()

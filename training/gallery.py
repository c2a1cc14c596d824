"""Draws the samples of the app's gallery.

python -m training.gallery      (writes assets/gallery, and assets/posters: a still of each clip)
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from training.scenes import COLORS, Scene, Thing, draw, moved

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "gallery"
POSTERS = FOLDER.parent / "posters"
PAPER, NIGHT, SKY = (255, 255, 255), (24, 26, 44), (196, 222, 240)


def thing(color: str, shape: str, size: float, x: float, y: float, rotation: float = 0.0, aspect: float = 1.0) -> Thing:
    return Thing(shape, color, COLORS[color][0], size, x, y, rotation, aspect)


PICTURES = {
    "1-red-circle": Scene((thing("red", "circle", 0.5, 0.5, 0.5),), (PAPER, PAPER)),
    "2-two-shapes": Scene(
        (thing("blue", "square", 0.34, 0.24, 0.52), thing("yellow", "star", 0.34, 0.77, 0.5)),
        ((40, 60, 52), (40, 60, 52)),
    ),
    "3-night": Scene(
        (
            thing("yellow", "moon", 0.32, 0.78, 0.22),
            thing("white", "star", 0.16, 0.2, 0.2),
            thing("pink", "heart", 0.3, 0.45, 0.78),
        ),
        (NIGHT, (60, 40, 90)),
        math.pi / 2,
    ),
    "4-four-corners": Scene(
        (
            thing("green", "triangle", 0.3, 0.2, 0.2),
            thing("purple", "ring", 0.3, 0.8, 0.2),
            thing("orange", "diamond", 0.3, 0.2, 0.8),
            thing("black", "cross", 0.3, 0.8, 0.8),
        ),
        (PAPER, PAPER),
    ),
    "5-five-shapes": Scene(
        (
            thing("red", "heart", 0.17, 0.17, 0.17),
            thing("teal", "rectangle", 0.3, 0.5, 0.5, 0.0, 1.9),
            thing("brown", "square", 0.16, 0.83, 0.17),
            thing("blue", "circle", 0.17, 0.17, 0.83),
            thing("green", "star", 0.18, 0.83, 0.83),
        ),
        (SKY, PAPER),
        math.pi / 2,
    ),
}


def clip_frames(seconds: float, fps: int) -> list[Scene]:
    base = Scene((thing("red", "circle", 0.3, 0.2, 0.55),), (SKY, PAPER), math.pi / 2)
    count = int(seconds * fps)
    return [moved(base, 0, x=0.17 + 0.66 * i / (count - 1)) for i in range(count)]


def write_clip(path: Path, scenes: list[Scene], fps: int, width: int, height: int) -> None:
    """H.264 through PyAV, so that browsers play it."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for scene in scenes:
            frame = av.VideoFrame.from_ndarray(np.asarray(draw(scene, width, height)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def poster(scenes: list[Scene], width: int, height: int) -> Image.Image:
    """The last scene, with fainter ones from before: a still that shows the motion."""
    still = draw(replace(scenes[0], things=()), width, height)
    for share in (0.0, 1 / 3, 2 / 3, 1.0):
        scene = scenes[round(share * (len(scenes) - 1))]
        still = Image.blend(still, _over(still, scene), 0.25 + 0.75 * share**2)
    return still


def _over(picture: Image.Image, scene: Scene) -> Image.Image:
    """The picture with the scene's shapes, without its background."""
    shapes, paper = (np.asarray(draw(s, *picture.size)) for s in (scene, replace(scene, things=())))
    return Image.fromarray(np.where((shapes != paper).any(axis=2, keepdims=True), shapes, np.asarray(picture)))


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    POSTERS.mkdir(exist_ok=True)
    for name, scene in PICTURES.items():
        draw(scene, 480).save(FOLDER / f"{name}.png", optimize=True)
    moving = clip_frames(4, 15)
    write_clip(FOLDER / "circle-moves-right.mp4", moving, 15, 480, 270)
    poster(moving, 480, 270).save(POSTERS / "circle-moves-right.png", optimize=True)


if __name__ == "__main__":
    main()

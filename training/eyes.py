"""First stage: the vision encoder and the projector learn which shape is where.

    python -m training.eyes --out training/runs/eyes.pt --steps 4500

A temporary linear head reads, from each of the 6 × 6 projector tokens, the shape and colour that cover it and whether a shape's centre
is in it. Pictures have up to nine shapes, so one step teaches several hundred. Resumes from --out if that file exists.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from training import scenes
from training.common import decay_groups, learning_rate, load_state, save_state
from training.model import IMAGE_TOKENS, TILE, build_config, build_model

GRID = 6
IGNORE = -100
SHAPE_CLASSES = len(scenes.SHAPES) + 1  # the last one: no shape
COLOR_CLASSES = len(scenes.COLORS)


class DensePictures(IterableDataset):
    """Endless batches: pixels (B, 3, 96, 96) uint8, shape, colour and centre labels (B, 36)."""

    def __init__(self, seed: int, batch: int) -> None:
        self.seed, self.batch = seed, batch

    def __iter__(self):  # type: ignore[no-untyped-def]
        rng = random.Random(self.seed)
        while True:
            rows = [dense_picture(rng) for _ in range(self.batch)]
            yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*rows))


def dense_picture(rng: random.Random) -> tuple[NDArray[np.uint8], ...]:
    background, angle = scenes.random_background(rng)
    scene = scenes.Scene((), background, angle)
    pixels = np.asarray(scenes.draw(scene, TILE)).astype(np.float32)
    best = np.full((GRID, GRID), 0.02, dtype=np.float32)
    shape = np.full((GRID, GRID), SHAPE_CLASSES - 1, dtype=np.int64)
    color = np.full((GRID, GRID), IGNORE, dtype=np.int64)
    center = np.zeros((GRID, GRID), dtype=np.float32)
    squash = (1.0, 1.0)
    if rng.random() < 0.4:
        factor = rng.uniform(0.52, 0.9)
        squash = (factor, 1.0) if rng.random() < 0.75 else (1.0, factor)
    for x, y, size in layout(rng):
        thing = scenes.random_thing(rng, background, size)
        thing = scenes.Thing(
            thing.shape, thing.color, thing.rgb, size, x, y, thing.rotation, thing.aspect, thing.outline
        )
        mask, left, top = scenes.mask_of(thing, TILE, TILE, squash=squash)
        full = np.zeros((TILE, TILE), dtype=np.float32)
        m = np.asarray(mask, dtype=np.float32) / 255
        y0, x0, y1, x1 = max(0, top), max(0, left), min(TILE, top + m.shape[0]), min(TILE, left + m.shape[1])
        if y0 >= y1 or x0 >= x1:
            continue
        full[y0:y1, x0:x1] = m[y0 - top : y1 - top, x0 - left : x1 - left]
        seen = full.sum() / m.sum()
        if thing.outline is not None:
            wide, wl, wt = scenes.mask_of(thing, TILE, TILE, grow_px=1.0, squash=squash)
            _blend(pixels, np.asarray(wide, dtype=np.float32) / 255, wl, wt, thing.outline)
        pixels += full[..., None] * (np.array(thing.rgb, dtype=np.float32) - pixels)
        cover = full.reshape(GRID, TILE // GRID, GRID, TILE // GRID).mean((1, 3))
        won = cover > best
        best = np.where(won, cover, best)
        clear = won & (cover > 0.12)
        shape[won] = IGNORE
        shape[clear] = scenes.SHAPES.index(thing.shape) if seen > 0.5 else IGNORE
        color[won] = IGNORE
        color[clear] = list(scenes.COLORS).index(thing.color)
        if 0 <= x < 1 and 0 <= y < 1:
            center[int(y * GRID), int(x * GRID)] = 1
    if rng.random() < 0.35:
        pixels += np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.uniform(1, 12), pixels.shape)
    image = np.clip(pixels, 0, 255).astype(np.uint8).transpose(2, 0, 1)
    return image, shape.reshape(-1), color.reshape(-1), center.reshape(-1)


def _blend(pixels: NDArray[np.float32], mask: NDArray[np.float32], left: int, top: int, rgb: scenes.Rgb) -> None:
    y0, x0, y1, x1 = max(0, top), max(0, left), min(TILE, top + mask.shape[0]), min(TILE, left + mask.shape[1])
    if y0 < y1 and x0 < x1:
        part = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
        pixels[y0:y1, x0:x1] += part * (np.array(rgb, dtype=np.float32) - pixels[y0:y1, x0:x1])


def layout(rng: random.Random) -> list[tuple[float, float, float]]:
    """Centres and sizes: packed 3 × 3 or 2 × 2, one large, or a zoomed view whose shapes may be cut by the edge."""
    kind = rng.random()
    if kind < 0.62:
        n, low, high = (3, 0.13, 0.33) if kind < 0.42 else (2, 0.2, 0.47)
        places = []
        for row in range(n):
            for column in range(n):
                if rng.random() < 0.9:
                    size = rng.uniform(low, high)
                    play = max(0.02, (1 / n - size * 0.9) / 2)
                    places.append(
                        (
                            (column + 0.5) / n + rng.uniform(-play, play),
                            (row + 0.5) / n + rng.uniform(-play, play),
                            size,
                        )
                    )
        return places
    if kind < 0.8:
        size = rng.uniform(0.3, 0.85)
        low = size * 0.45
        return [(rng.uniform(low, 1 - low), rng.uniform(low, 1 - low), size)]
    out: list[tuple[float, float, float]] = []
    for _ in range(20):
        x, y, size = rng.uniform(-0.1, 1.1), rng.uniform(-0.1, 1.1), rng.uniform(0.22, 0.75)
        if all(((x - a) ** 2 + (y - b) ** 2) ** 0.5 > (size + s) * 0.55 for a, b, s in out):
            out.append((x, y, size))
        if len(out) == 4:
            break
    return out


class Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, SHAPE_CLASSES + COLOR_CLASSES + 1)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(self.out(self.norm(tokens)), [SHAPE_CLASSES, COLOR_CLASSES, 1], dim=-1)


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    model = build_model(build_config(vocab_size=512, image_token_id=4, bos=1, eos=2, pad=2)).to(device)
    model.set_attn_implementation("plain" if device == "cpu" else "sdpa")
    head = Head(model.config.text_config.hidden_size).to(device)
    vision, connector = model.model.vision_model, model.model.connector
    trained = [vision, connector, head]
    optimizer = torch.optim.AdamW(decay_groups(trained, 0.02), lr=args.peak, betas=(0.9, 0.97), fused=True)
    start = 0
    if state := load_state(args.out):
        for module, weights in zip(trained, state["modules"]):
            module.load_state_dict(weights)
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    loader = iter(
        DataLoader(
            DensePictures(args.seed * 1000 + start, args.batch), batch_size=None, num_workers=1, prefetch_factor=6
        )
    )
    began, totals = time.time(), np.zeros(6)
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.peak, 150)
        images, shape, color, center = (t.to(device) for t in next(loader))
        with torch.autocast(device, dtype=torch.bfloat16):
            tokens = connector(vision(to_pixels(images)).last_hidden_state)
        assert tokens.shape[1] == IMAGE_TOKENS
        shapes, colors, centers = head(tokens.float())
        shape_loss = F.cross_entropy(shapes.flatten(0, 1), shape.flatten(), ignore_index=IGNORE)
        color_loss = F.cross_entropy(colors.flatten(0, 1), color.flatten(), ignore_index=IGNORE)
        center_loss = F.binary_cross_entropy_with_logits(
            centers.squeeze(-1), center, pos_weight=torch.tensor(3.0, device=device)
        )
        (shape_loss + 0.5 * color_loss + 0.3 * center_loss).backward()
        nn.utils.clip_grad_norm_([p for m in trained for p in m.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            on = (shape >= 0) & (shape < SHAPE_CLASSES - 1)
            lit = color >= 0
            totals += (
                shape_loss.item(),
                (shapes.argmax(-1) == shape)[on].float().mean().item(),
                (colors.argmax(-1) == color)[lit].float().mean().item(),
                ((centers.squeeze(-1) > 0) == (center > 0)).float().mean().item(),
                0,
                1,
            )
        if (step + 1) % 50 == 0:
            mean = totals / totals[-1]
            print(
                f"step {step + 1} loss {mean[0]:.3f} shape {mean[1]:.3f} color {mean[2]:.3f} center {mean[3]:.3f} "
                f"{(time.time() - began) / (step + 1 - start):.2f} s/step",
                flush=True,
            )
            totals[:] = 0
        if (step + 1) % 250 == 0 or step + 1 == args.steps:
            save_state(
                args.out, modules=[m.state_dict() for m in trained], optimizer=optimizer.state_dict(), step=step + 1
            )


if __name__ == "__main__":
    main()

"""Training batches of the language stage: token sequences with image slots, pixels, and which tokens to learn.

A sequence is a shared prefix (the pictures) and several questions with answers. Either each question sees only the
pictures (so each is a first question), or they follow one another as turns of one chat.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch.utils.data import IterableDataset

from smolvlm_core.prompt.template import (
    ASSISTANT_CUE,
    END_OF_UTTERANCE,
    FAKE_TOKEN,
    GLOBAL_TOKEN,
    IMAGE,
    START,
    VIDEO_CLOSING,
    video_text,
)
from training import questions, scenes
from training.clips import random_clip
from training.model import IMAGE_TOKENS, LONGEST_EDGE, TILE
from training.questions import Question

Pixels = NDArray[np.uint8]  # (3, 96, 96)
# kind → (share of the batches early, later; sequences in a batch; questions in a sequence). Early batches are simple: single
# tiles and basic questions about several shapes, until the model finds a shape by its name.
MIX = {
    "frame": (0.4, 0.24, 12, 9),
    "one tile": (0.05, 0.05, 8, 9),
    "tiles": (0.33, 0.49, 5, 11),
    "clip": (0.15, 0.08, 4, 7),
    "cut clip": (0.0, 0.06, 2, 9),
    "several": (0.04, 0.07, 4, 5),
    "talk": (0.03, 0.01, 10, 3),
}
# How frames are cut, one layout for a batch. SmolVLM2's frames are single tiles. llama-server adds an overview to each, and cuts
# frames that come through the OpenAI API like any picture.
LAYOUTS = {
    "clip": ("frame", "one tile"),
    "cut clip": ("tiles",),
    "several": ("frame", "tiles", "tiles"),
}
CLIP_FRAMES = (3, 4, 5, 6, 6, 8, 8, 8, 10, 12)
CUT_CLIP_FRAMES = (3, 4, 4, 5, 6, 8)

# Loss weight of each token of a long answer. Descriptions bind the size, colour, shape and place of several shapes, so they teach
# more than their number suggests.
LONG_ANSWER_WEIGHT = 0.4
WITH_OPTIONS = 0.15  # share of the questions that list their options, where possible
WITH_OPTIONS_CLIP = 0.4  # few questions about clips have options
BINDING = 0.45  # share of the pictures with questions about binding only


@dataclass
class Sequence:
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)  # 0: visible to all; n: visible only to question n
    weights: list[float] = field(default_factory=list)  # of the loss on this token
    tiles: list[Pixels] = field(default_factory=list)

    def add(self, ids: list[int], group: int, weight: float, at: int) -> int:
        self.ids += ids
        self.positions += range(at, at + len(ids))
        self.groups += [group] * len(ids)
        self.weights += [weight] * len(ids)
        return at + len(ids)


def tile_of(picture: Image.Image) -> Pixels:
    return np.asarray(picture.resize((TILE, TILE), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def image_parts(picture: Image.Image, layout: str) -> tuple[str, list[Pixels]]:
    """Prompt text (with `IMAGE` for each token) and tiles of one picture, as SmolVLM's image processor cuts it."""
    slots = IMAGE * IMAGE_TOKENS
    overview = f"{FAKE_TOKEN}{GLOBAL_TOKEN}{slots}{FAKE_TOKEN}"
    if layout == "frame":
        return overview, [tile_of(picture)]
    rows = columns = 1
    if layout == "tiles":
        rows, columns = grid_of(picture.width, picture.height)
    sized = picture.resize((columns * TILE, rows * TILE), Image.Resampling.LANCZOS)
    text, tiles = "", []
    for row in range(rows):
        for column in range(columns):
            text += f"{FAKE_TOKEN}<row_{row + 1}_col_{column + 1}>{slots}"
            box = (column * TILE, row * TILE, (column + 1) * TILE, (row + 1) * TILE)
            tiles.append(np.asarray(sized.crop(box)).transpose(2, 0, 1))
        text += "\n"
    return text + "\n" + overview, [*tiles, tile_of(sized)]


def squash_of(width: int, height: int, layout: str) -> float:
    """The ratio of vertical to horizontal scaling on the way to the tiles; 1.0 keeps the aspect ratio."""
    rows, columns = grid_of(width, height) if layout == "tiles" else (1, 1)
    return (rows * width) / (columns * height)


def grid_of(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of tiles once the longer side is LONGEST_EDGE."""
    scale = LONGEST_EDGE / max(width, height)
    return -(-int(height * scale) // TILE), -(-int(width * scale) // TILE)


class Conversations(IterableDataset):
    """Endless batches of one kind each, as tensors ready for the model."""

    def __init__(
        self, tokenizer_json: str, seed: int, easy: list[tuple[bytes, list[Question]]], start: int = 0, early: int = 0
    ) -> None:
        """`start`: the first batch's number; batches before number `early` follow the early mix."""
        self.tokenizer_json, self.seed, self.easy, self.start, self.early = tokenizer_json, seed, easy, start, early
        self.drill = False

    def __iter__(self):  # type: ignore[no-untyped-def]
        torch.set_num_threads(1)
        self.tokenizer = Tokenizer.from_str(self.tokenizer_json)
        rng = random.Random(self.seed)
        for number in itertools.count(self.start):
            kind = rng.choices(
                list(MIX), [early if number < self.early else late for early, late, _, _ in MIX.values()]
            )[0]
            _, _, batch, count = MIX[kind]
            self.drill = number < self.early
            self.frames = rng.choice(CUT_CLIP_FRAMES if kind == "cut clip" else CLIP_FRAMES)
            self.layout = rng.choice(LAYOUTS[kind]) if kind in LAYOUTS else kind
            yield collate([self.sequence(rng, kind, count) for _ in range(batch)], kind)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def sequence(self, rng: random.Random, kind: str, count: int) -> Sequence:
        out = Sequence()
        chat = kind == "talk" or rng.random() < 0.3
        opening, first, tiles, asked = self.opening(rng, kind, count)
        out.tiles = tiles
        start = out.add(self.encode(START + opening), 0, 0.0, 0)
        at, group = start, 0
        for i, question in enumerate(asked):
            if not chat:
                at, group = start, i + 1
            lead = first if not chat or i == 0 else "User: "
            text = questions.loosely_typed(rng, question.text)
            if rng.random() < (WITH_OPTIONS_CLIP if "clip" in kind else WITH_OPTIONS):
                text = questions.with_options(rng, text, question.answer)
            at = out.add(self.encode(f"{lead}{text}{END_OF_UTTERANCE}\n{ASSISTANT_CUE}"), group, 0.0, at)
            answer = self.encode(f" {question.answer}{END_OF_UTTERANCE}")
            at = out.add(answer, group, max(len(answer) ** -0.5, LONG_ANSWER_WEIGHT), at)
            if chat:
                at = out.add(self.encode("\n"), group, 0.0, at)
        return out

    def opening(self, rng: random.Random, kind: str, count: int) -> tuple[str, str, list[Pixels], list[Question]]:
        """(shared prefix, the text between it and a question, tiles, questions). The text is tokenized with the question."""
        if kind == "talk":
            asked = [
                questions.small_talk(rng)
                if rng.random() < 0.5
                else questions.without_image(rng, scenes.random_scene(rng))
                for _ in range(count)
            ]
            return "User:", " ", [], asked
        if "clip" in kind:
            frames = self.frames
            step = rng.choice((0.25, 0.5, 1.0, 1.0, 2.0, rng.uniform(0.1, 7)))
            size = random_size(rng, 1.8)
            event, shown = random_clip(rng, frames, scenes.shapes_for(squash_of(*size, self.layout)))
            parts = [image_parts(scenes.draw(s, *size), self.layout) for s in shown]
            text = video_text([i * step for i in range(frames)], frames * step)
            opening = "User: " + text.removesuffix(VIDEO_CLOSING).replace(IMAGE, parts[0][0])
            tiles = [t for p in parts for t in p[1]]
            return opening, VIDEO_CLOSING, tiles, questions.about_clip(rng, event, frames, count)
        if kind == "several":
            n = rng.choice((2, 2, 3))
            sizes = [random_size(rng, 1.8) for _ in range(n)]
            told_apart = [scenes.shapes_for(squash_of(*size, self.layout)) for size in sizes]
            drawn = [scenes.random_scene(rng, rng.choice((1, 1, 2)), shapes=shapes) for shapes in told_apart]
            parts = [image_parts(scenes.draw(s, *size), self.layout) for s, size in zip(drawn, sizes)]
            return (
                "User:" + "".join(p[0] for p in parts),
                "",
                [t for p in parts for t in p[1]],
                questions.about_several(rng, drawn, count),
            )
        if self.easy and rng.random() < (0.03 if self.drill else 0.08):
            png, all_questions = rng.choice(self.easy)
            picture = Image.frombytes("RGB", (64, 64), png)
            asked = rng.sample(all_questions, min(count, len(all_questions)))
        else:
            size = random_size(rng, 2.4)
            scene = scenes.random_scene(
                rng,
                rng.choice((1, 2, 2, 3, 3, 4) if self.drill else (1, 2, 2, 3, 3, 4, 4, 5, 5)),
                shapes=scenes.shapes_for(squash_of(*size, self.layout)),
                alike=not self.drill and rng.random() < 0.45,
            )
            if rng.random() < 0.01:
                scene = scenes.Scene((), scene.background, scene.gradient_angle, scene.noise, scene.noise_seed)
            picture = scenes.draw(scene, *size)
            makers = questions.BINDING_MAKERS if rng.random() < BINDING else questions.IMAGE_MAKERS
            if self.drill:
                makers = questions.DRILL_MAKERS
            asked = questions.about_scene(rng, scene, count, makers)
        text, tiles = image_parts(picture, self.layout)
        return "User:" + text, "", tiles, asked


def random_size(rng: random.Random, widest: float) -> tuple[int, int]:
    """Width and height of a picture: square, wide or tall, near the size the model sees."""
    longest = rng.choice((LONGEST_EDGE, LONGEST_EDGE, rng.randint(128, 320)))
    if rng.random() < 0.55:
        return longest, longest
    shorter = int(longest / rng.uniform(1.1, widest))
    return (longest, shorter) if rng.random() < 0.75 else (shorter, longest)


def collate(rows: list[Sequence], kind: str) -> dict[str, torch.Tensor | str | None]:
    length = -(-max(len(r.ids) for r in rows) // 8) * 8

    def padded(values: list[list[float]], fill: float, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([v + [fill] * (length - len(v)) for v in values], dtype=dtype)

    tiles = [t for r in rows for t in r.tiles]
    return {
        "kind": kind,
        "ids": padded([r.ids for r in rows], 2, torch.long),  # type: ignore[misc]
        "positions": padded([r.positions for r in rows], 0, torch.long),  # type: ignore[misc]
        "groups": padded([r.groups for r in rows], -1, torch.int16),  # type: ignore[misc]
        "weights": padded([r.weights for r in rows], 0.0, torch.float32),
        "pixels": torch.from_numpy(np.stack(tiles)) if tiles else None,
    }


def attention_mask(groups: torch.Tensor) -> torch.Tensor:
    """(B, L) groups → (B, 1, L, L) boolean mask: earlier tokens of the shared prefix and of the same question."""
    length = groups.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()
    mine, theirs = groups[:, :, None], groups[:, None, :]
    allowed = (theirs == 0) | (theirs == mine)
    return (allowed & causal)[:, None]


def easy_vqa_train() -> list[tuple[bytes, list[Question]]]:
    """easy-VQA's train split; empty without the package."""
    try:
        from easy_vqa import get_train_image_paths, get_train_questions
    except ImportError:
        return []
    texts, answers, ids = get_train_questions()
    by_image: dict[int, list[Question]] = {}
    for text, answer, image in zip(texts, answers, ids):
        by_image.setdefault(image, []).append(Question("easy", text, questions.sentence(answer)))
    return [
        (Image.open(path).convert("RGB").tobytes(), by_image[i])
        for i, path in get_train_image_paths().items()
        if i in by_image
    ]

"""The scenes have the answers they claim, and training sees pictures as the app gives them."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from training import clips, questions, scenes
from training.conversations import Conversations, attention_mask, collate, image_parts
from training.questions import Question


def test_scenes_are_what_they_say() -> None:
    """Each thing's colour is found at its centre, unless the shape is hollow there."""
    rng = random.Random(0)
    for _ in range(60):
        scene = scenes.random_scene(rng)
        pixels = np.asarray(scenes.draw(scenes.Scene(scene.things, scene.background), 300), dtype=int)
        for thing in scene.things:
            if thing.shape not in ("ring", "moon"):
                found = pixels[int(thing.y * 300), int(thing.x * 300)]
                assert np.abs(found - thing.rgb).max() < 12, thing


def test_distances_between_things_and_edges() -> None:
    rng = random.Random(1)
    for _ in range(200):
        scene = scenes.random_scene(rng)
        assert 1 <= len(scene.things) <= 5
        for thing in scene.things:
            assert 0.5 * thing.size <= thing.x <= 1 - 0.5 * thing.size
            assert min(abs(thing.x - 1 / 3), abs(thing.x - 2 / 3)) > 0.04


def scene_of(*things: tuple[str, str, float, float]) -> scenes.Scene:
    made = tuple(scenes.Thing(shape, color, scenes.COLORS[color][0], 0.3, x, y) for color, shape, x, y in things)
    return scenes.Scene(made, ((255, 255, 255), (255, 255, 255)))


def every(maker: questions.Maker, scene: scenes.Scene) -> dict[str, str]:
    rng = random.Random(0)
    made = [maker(rng, scene) for _ in range(400)]
    return {q.text: q.answer for q in made if q is not None}


def test_answers_are_right() -> None:
    scene = scene_of(("red", "circle", 0.2, 0.2), ("blue", "star", 0.8, 0.2), ("red", "cross", 0.5, 0.8))
    colors = every(questions.ask_color, scene)
    assert colors["What color is the circle?"] == "Red." and colors["What color is the star?"] == "Blue."
    counts = every(questions.ask_count, scene)
    assert counts["How many red shapes are there?"] == "Two." and counts["How many objects are there?"] == "Three."
    places = every(questions.ask_place, scene)
    assert places["Where is the star?"] == "At the top right." and places["Where is the cross?"] == "At the bottom."
    apart = scene_of(("red", "circle", 0.2, 0.5), ("blue", "star", 0.8, 0.2), ("red", "cross", 0.5, 0.8))
    relations = every(questions.ask_relation, apart)
    assert relations["What is above the red circle?"] == "A blue star."
    assert questions.description(scene) == (
        "A large red circle at the top left, a large blue star at the top right and a large red cross at the bottom."
    )


def test_negated_questions_turn_the_answer() -> None:
    asked = every(questions.ask_yes_no, scene_of(("red", "circle", 0.5, 0.5)))
    assert asked.get("Is there a red circle?", "Yes.") == "Yes."
    for text, answer in asked.items():
        noun = next((n for n in ("red circle", "red shape", "red object", "circle") if n in text), None)
        has = noun is not None and (noun != "circle" or " a circle" in text or "no circle" in text)
        if "not" in text or " no " in text:
            has = not has
        assert answer == ("Yes." if has else "No."), text


def test_yes_and_no_are_balanced() -> None:
    rng = random.Random(2)
    made = [questions.ask_yes_no(rng, scenes.random_scene(rng)) for _ in range(3000)]
    counted = Counter(q.answer for q in made if q)
    assert 0.42 < counted["Yes."] / counted.total() < 0.58


def test_an_ambiguous_question_is_never_asked() -> None:
    two = scene_of(("red", "circle", 0.2, 0.2), ("blue", "circle", 0.8, 0.8))
    assert not any(text.rstrip("?.").endswith("the circle") for text in every(questions.ask_color, two))


def test_clips_show_what_they_say() -> None:
    rng = random.Random(3)
    for _ in range(60):
        event, shown = clips.random_clip(rng, 6)
        if event.kind == "move":
            dx, dy = clips.DIRECTIONS[event.detail]
            first, last = shown[0].things[0], shown[-1].things[0]
            assert (last.x - first.x) * dx + (last.y - first.y) * dy > 0.2
        if event.kind == "appear":
            assert not shown[0].things and shown[-1].things


@pytest.mark.parametrize("size", [(192, 192), (300, 300), (480, 270), (200, 320), (64, 64)])
def test_training_sees_the_tiles_and_tokens_of_the_app(size: tuple[int, int], backend: TransformersBackend) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer

    spec = backend.spec
    tokenizer = AutoTokenizer.from_pretrained(spec.folder)
    processor = AutoImageProcessor.from_pretrained(spec.folder, backend="pil")
    picture = scenes.draw(scenes.random_scene(random.Random(4)), *size)
    image = Attachment(kind="image", sha256="a", name="a", mime="image/png", width=size[0], height=size[1])
    made = encode_prompt(
        build_prompt([Message("user", "What?", (image,))], lambda _: picture), spec, tokenizer, processor
    )
    text, tiles = image_parts(picture, "tiles")
    assert (
        tokenizer(f"<|im_start|>User:{text}What?<end_of_utterance>\nAssistant:", add_special_tokens=False)["input_ids"]
        == made.ids
    )
    trained = torch.from_numpy(np.stack(tiles)).float() / 127.5 - 1
    assert made.tiles is not None and trained.shape == made.tiles.shape
    assert (trained - made.tiles).abs().mean() < 0.02


def test_a_clip_reads_the_same_in_training_and_in_the_app(backend: TransformersBackend) -> None:
    from tokenizers import Tokenizer

    folder = catalog.BUNDLED_CHECKPOINT
    data = Conversations((folder / "tokenizer.json").read_text(), 0, [])
    data.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    data.frames, data.layout = 3, "frame"
    rng = random.Random(5)
    opening, lead, tiles, asked = data.opening(rng, "clip", 1)
    trained = data.encode(f"<|im_start|>{opening}") + data.encode(
        f"{lead}{asked[0].text}<end_of_utterance>\nAssistant:"
    )
    seconds = int(opening.split("frames from a ")[1].split(" ")[0].split(":")[2])
    times = [float(p.split(":")[1]) for p in (part[:5] for part in opening.split("Frame from ")[1:])]
    clip = Attachment(
        kind="video",
        sha256="v",
        name="v",
        mime="video/mp4",
        width=96,
        height=96,
        duration_seconds=seconds,
        frames=tuple(FrameRef(t, i, f"{i}") for i, t in enumerate(times)),
    )
    prompt = build_prompt([Message("user", asked[0].text, (clip,))], lambda _: Image.new("RGB", (96, 96)))
    slots = f"<fake_token_around_image><global-img>{'<image>' * 36}<fake_token_around_image>"
    assert data.encode(prompt.text.replace("<image>", slots)) == trained and len(tiles) == 3


def test_questions_of_one_picture_do_not_see_each_other() -> None:
    mask = attention_mask(torch.tensor([[0, 0, 1, 1, 2, 2]]))[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 1, 1],
    ]  # fmt: skip


def test_only_answers_are_learned() -> None:
    from tokenizers import Tokenizer

    folder = catalog.BUNDLED_CHECKPOINT
    data = Conversations((folder / "tokenizer.json").read_text(), 0, [])
    data.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    data.layout = "frame"
    sequence = data.sequence(random.Random(6), "frame", 4)
    batch = collate([sequence], "frame")
    learned = data.tokenizer.decode(batch["ids"][0][batch["weights"][0] > 0].tolist(), skip_special_tokens=False)  # type: ignore[index]
    assert "?" not in learned and learned.count("<end_of_utterance>") == 4


def test_test_seeds_are_not_training_seeds() -> None:
    from training.evaluate import scene_items

    rng = random.Random(2 * 100_003)
    trained = {questions.description(scenes.random_scene(rng)) for _ in range(50)}
    tested = [q for item in scene_items(30) for q in item.asked if q.kind == "describe"]
    assert not any(q.answer in trained for q in tested if q.answer.count(",") > 1)
    assert isinstance(tested[0], Question)

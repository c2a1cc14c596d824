"""Starter questions: the bundled model answers each of them correctly on its sample."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.conversations.attachments import attach_image, describe_clip, store_frames
from smolvlm_core.conversations.excerpt import excerpt
from smolvlm_core.conversations.store import Store
from smolvlm_core.models import catalog
from smolvlm_core.paths import GALLERY
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.video import default_frame_count, sample_clip
from smolvlm_core.work.pool import Pool
from ui import gallery
from ui.chat import starters

RIGHT = {  # what is drawn: see training/gallery.py
    ("1-red-circle.png", "What color is the circle?"): "Red.",
    ("1-red-circle.png", "How big is the circle?"): "Large.",
    ("1-red-circle.png", "Describe this image."): "A large red circle in the center.",
    ("2-two-shapes.png", "What is to the right of the square?"): "A yellow star.",
    ("2-two-shapes.png", "Is there a blue star?"): "No.",
    (
        "2-two-shapes.png",
        "Describe this image.",
    ): "A large blue square on the left and a large yellow star on the right.",
    ("3-night.png", "Where is the moon?"): "At the top right.",
    ("3-night.png", "What color is the heart?"): "Pink.",
    (
        "3-night.png",
        "Describe this image.",
    ): "A small white star at the top left, a large yellow moon at the top right and a large pink heart at the bottom.",
    (
        "4-four-corners.png",
        "Describe this image.",
    ): "A large green triangle at the top left, a large purple ring at the top "
    "right, a large orange diamond at the bottom left and a large black cross at the bottom right.",
    ("4-four-corners.png", "What is above the diamond?"): "A green triangle.",
    ("4-four-corners.png", "What color is the cross?"): "Black.",
    ("5-five-shapes.png", "How many shapes are there?"): "Five.",
    ("5-five-shapes.png", "What shape is in the center?"): "Rectangle.",
    ("5-five-shapes.png", "Is there a green star?"): "Yes.",
    ("circle-moves-right.mp4", "Which way does the circle move?"): "To the right.",
    ("circle-moves-right.mp4", "What happens in the video?"): "A red circle moves to the right.",
    ("circle-moves-right.mp4", "What color is the circle?"): "Red.",
}


@pytest.fixture(scope="module")
def bundled() -> Backend:
    return CheckpointEntry.of(catalog.bundled()).make(Pool())


def attached(store: Store, name: str) -> Attachment:
    path = GALLERY / name
    if path.suffix == ".png":
        return attach_image(store, path.read_bytes(), name)
    spec = catalog.bundled()
    sampled = sample_clip(path, default_frame_count(4.0, spec.video_fps, spec.video_max_frames))
    attachment, pngs = describe_clip("0" * 64, name, sampled)
    store_frames(store, pngs)
    return attachment


def test_every_question_on_a_sample_is_answered_correctly(bundled: Backend, store: Store) -> None:
    asked = {(name, text) for name, texts in starters.SHAPES_ON_SAMPLES.items() for text in texts}
    assert asked == set(RIGHT), "each question has its right answer here"
    wrong = {}
    for (name, text), right in RIGHT.items():
        question = Message("user", text, (attached(store, name),))
        prompt = build_prompt([question], store.media.picture, "")
        answer = collect(bundled.generate(prompt, GenerationSettings(), threading.Event())).text
        if answer != right:
            wrong[name, text] = answer
    assert wrong == {}


def test_every_sample_has_questions_and_a_picture_for_its_card() -> None:
    for path in (*gallery.images(), *gallery.clips()):
        assert path.name in starters.SHAPES_ON_SAMPLES and len(gallery.card_picture(path)) < 40_000


def test_the_questions_fit_the_model_and_what_was_added() -> None:
    shapes, smolvlm2 = catalog.bundled(), catalog.PUBLISHED[0]
    converted = replace(smolvlm2, key="gguf:1", title="smolvlm-shapes-Q8_0", repo_id="smolvlm-shapes-Q8_0")
    assert starters.knows_shapes_only(shapes) and starters.knows_shapes_only(converted)
    assert not starters.knows_shapes_only(smolvlm2)
    assert starters.on_pictures(smolvlm2, []) == ()
    assert "What does the text say?" in starters.on_pictures(smolvlm2, ["menu.jpg"])
    assert "What does the text say?" not in starters.on_pictures(shapes, ["menu.jpg"])
    assert "Describe each image." in starters.on_pictures(shapes, ["1-red-circle.png", "3-night.png"])
    assert starters.on_sample(smolvlm2, "circle-moves-right.mp4")[0] == "What happens in this clip?"


@pytest.mark.parametrize(
    "text, search, shown",
    [
        ("At the top right.", "TOP", "At the |top| right."),
        ("one\ntwo   three", "two three", "one |two three|"),
        ("nothing here", "other", "nothing here||"),
        ("İstanbul and a red circle", "red", "İstanbul and a |red| circle"),
    ],
)
def test_an_excerpt_shows_the_match_as_it_is_written(text: str, search: str, shown: str) -> None:
    assert "|".join(excerpt(text, search)) == shown


def test_an_excerpt_of_a_long_text_is_short() -> None:
    before, match, after = excerpt("word " * 500 + "needle" + " word" * 500, "needle")
    assert match == "needle" and before.startswith("…") and after.endswith("…") and len(before + after) < 90

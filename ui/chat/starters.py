"""Starter questions: what to ask about a sample, and about pictures or a clip that were just added.

All wording is here. Does not know pages. The bundled model is asked what it was trained on; every other model, what people ask first.
"""

from __future__ import annotations

from collections.abc import Sequence

from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec

# By sample. The first one stands on the sample's card: each shows another thing that the model can do.
SHAPES_ON_SAMPLES = {
    "1-red-circle.png": ("What color is the circle?", "How big is the circle?", "Describe this image."),
    "2-two-shapes.png": ("What is to the right of the square?", "Is there a blue star?", "Describe this image."),
    "3-night.png": ("Where is the moon?", "What color is the heart?", "Describe this image."),
    "4-four-corners.png": ("Describe this image.", "What is above the diamond?", "What color is the cross?"),
    "5-five-shapes.png": ("How many shapes are there?", "What shape is in the center?", "Is there a green star?"),
    "circle-moves-right.mp4": (
        "Which way does the circle move?",
        "What happens in the video?",
        "What color is the circle?",
    ),
}
SHAPES = {
    "picture": ("Describe this image.", "How many shapes are there?", "Is there a circle?"),
    "pictures": ("Describe each image.", "How many images are there?"),
    "clip": ("What happens in the video?", "Which way does the shape move?", "What shape is it?"),
}
ANY = {
    "picture": ("Describe this picture.", "What does the text say?", "What stands out here?"),
    "pictures": ("Describe each picture.", "What is different between these pictures?"),
    "clip": ("What happens in this clip?", "Who or what is shown?", "What changes from start to end?"),
}


def knows_shapes_only(spec: ModelSpec) -> bool:
    """The bundled checkpoint, also where it is converted or served under its own name."""
    return any(catalog.BUNDLED in name.lower() for name in (spec.key, spec.title, spec.repo_id))


def on_sample(spec: ModelSpec, name: str) -> tuple[str, ...]:
    """For a sample by its file name."""
    if knows_shapes_only(spec) and name in SHAPES_ON_SAMPLES:
        return SHAPES_ON_SAMPLES[name]
    return ANY["clip" if name.endswith(".mp4") else "picture"]


def on_pictures(spec: ModelSpec, names: Sequence[str]) -> tuple[str, ...]:
    """For pictures that go with the next question, by their file names; none for no pictures."""
    if not names:
        return ()
    if len(names) == 1 and names[0] in SHAPES_ON_SAMPLES:
        return on_sample(spec, names[0])
    return (SHAPES if knows_shapes_only(spec) else ANY)["picture" if len(names) == 1 else "pictures"]


def on_clip(spec: ModelSpec, name: str) -> tuple[str, ...]:
    """For a clip that is open."""
    if name in SHAPES_ON_SAMPLES:
        return on_sample(spec, name)
    return (SHAPES if knows_shapes_only(spec) else ANY)["clip"]

"""What is suggested to ask of each segment. The bundled model is asked what it was trained on."""

from __future__ import annotations

from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.timeline.records import DESCRIBE
from ui.chat.starters import knows_shapes_only

SHAPES = (DESCRIBE, "What changes in the video?")
SHAPES_QUESTIONS = ("What shape is it?", "Which way does the shape move?", "Is there a circle?")
ANY = (
    DESCRIBE,
    "Describe what people do in these frames.",
    "Describe the place and the things in it.",
    "Read all text that can be seen.",
)
ANY_QUESTIONS = (
    "Is anyone in the picture?",
    "Read the text.",
    "How many people are there?",
    "Does anything unusual happen?",
)


def descriptions(spec: ModelSpec) -> tuple[str, ...]:
    """The first one is the default."""
    return SHAPES if knows_shapes_only(spec) else ANY


def questions(spec: ModelSpec) -> tuple[str, ...]:
    return SHAPES_QUESTIONS if knows_shapes_only(spec) else ANY_QUESTIONS

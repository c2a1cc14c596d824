"""Questions to choose from. All wording is here. The bundled model is asked what it was trained on."""

from __future__ import annotations

from smolvlm_core.models.catalog import ModelSpec
from ui.chat.starters import knows_shapes_only

SHAPES = ("Describe this image.", "What shape is in the image?", "How many shapes are there?")
ANY = ("Describe what you see.", "What is happening?", "How many people are in the picture?", "Read the text.")
SHAPE_ALERTS = ("Is there a red circle?", "Is there a star?")
ANY_ALERTS = ("Is anyone in the picture?", "Is a door open?", "Is there a car in the picture?")


def questions(spec: ModelSpec) -> tuple[str, ...]:
    """The first one is the default."""
    return SHAPES if knows_shapes_only(spec) else ANY


def alerts(spec: ModelSpec) -> tuple[str, ...]:
    """With the answer yes or no."""
    return SHAPE_ALERTS if knows_shapes_only(spec) else ANY_ALERTS

"""The options of a new batch that most people leave alone: frames of clips, text files beside the pictures, answers as JSON."""

from __future__ import annotations

from typing import Any

import streamlit as st

from smolvlm_core.batch.schema import check_schema
from smolvlm_core.batch.sidecars import SidecarOptions
from smolvlm_core.conversations.unsaved import MAX_FRAMES, ClipSampling
from smolvlm_core.errors import LensError
from ui.state import session
from ui.text import show_error

FRAME_RULES = ["Model's rule", "Number", "Per second"]
EXISTING = {"skip": "Leave it", "overwrite": "Replace it", "append": "Add a line"}


def draw_clips() -> ClipSampling:
    form = session().batch.form
    with st.expander("Clips: which frames are shown", icon=":material/movie:"):
        rule: Any = st.segmented_control(
            "Frames",
            FRAME_RULES,
            default=form.frame_rule,
            required=True,
            key="batch_rule",
            help="The model's rule is a number of frames per second, up to its maximum.",
        )
        form.frame_rule = rule
        if rule == FRAME_RULES[1]:
            form.frames = st.number_input("Frames of each clip", 1, MAX_FRAMES, form.frames, key="batch_frames")
        elif rule == FRAME_RULES[2]:
            form.fps = st.number_input("Frames per second", 0.1, 60.0, form.fps, step=0.5, key="batch_fps")
        form.scenes = st.toggle(
            "Choose the frames that differ most",
            form.scenes,
            key="batch_scenes",
            help="Finds short events in long clips. Off: the frames are evenly spaced, as SmolVLM2 was trained.",
        )
    return ClipSampling(
        frames=form.frames if rule == FRAME_RULES[1] else None,
        fps=form.fps if rule == FRAME_RULES[2] else None,
        strategy="scenes" if form.scenes else "even",
    )


def draw_sidecars() -> tuple[SidecarOptions | None, bool]:
    """(the options, or None for no text files; whether they can be used)"""
    form = session().batch.form
    before = form.sidecar_options
    with st.expander("Text files beside the pictures and clips", icon=":material/description:"):
        form.sidecars = st.toggle(
            "Write each answer to a text file beside its picture or clip",
            form.sidecars,
            key="batch_sidecars",
            help="As tools for training image models read captions: `cat.txt` beside `cat.jpg`.",
        )
        if not form.sidecars:
            return None, True
        left, right = st.columns(2)
        suffix = left.text_input("Extension", before.suffix, key="batch_suffix")
        existing: Any = right.selectbox(
            "If the text file exists",
            list(EXISTING),
            list(EXISTING).index(before.existing),
            format_func=EXISTING.__getitem__,
            key="batch_existing",
        )
        first = left.text_input("Text before each answer", before.before, key="batch_before")
        last = right.text_input("Text after each answer", before.after, key="batch_after")
        try:
            form.sidecar_options = SidecarOptions(suffix=suffix.strip(), before=first, after=last, existing=existing)
        except ValueError:
            show_error("An extension starts with a dot, such as .txt, and is not that of a picture or clip.")
            return None, False
    return form.sidecar_options, True


def draw_schema() -> tuple[str, bool]:
    """(the schema, "" for none; whether it can be used)"""
    form = session().batch.form
    with st.expander("Answers as JSON", icon=":material/data_object:"):
        form.json_schema = st.text_area(
            "JSON schema",
            form.json_schema,
            key="batch_schema",
            placeholder='{"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}',
            help="An answer that does not follow the schema counts as failed; its text is stored. Backends that can enforce a "
            "schema do so.",
        ).strip()
        if not form.json_schema:
            return "", True
        try:
            check_schema(form.json_schema, "The schema")
        except LensError as error:
            show_error(error)
            return "", False
    return form.json_schema, True

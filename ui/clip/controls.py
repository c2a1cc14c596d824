"""The controls of a clip: how its frames are chosen, and the player with its strip, where they are changed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from smolvlm_core.conversations.clip_frames import FrameChoice, SampledFrames, StoredClip
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.times import time_text
from smolvlm_core.video import default_frame_count
from ui.clip import player, span
from ui.pictures.shown import unsaved
from ui.state import session
from ui.text import escape, message

MAX_FRAMES = 64
STRATEGY_NAMES = {"even": "Evenly spaced", "scenes": "Scene changes", "hand": "By hand"}


def max_frames(clip: StoredClip) -> int:
    return max(2, min(MAX_FRAMES, clip.facts.frame_count))


def _key(name: str, clip: StoredClip) -> str:
    return f"{name}_{clip.sha256}"


def restore(clip: StoredClip, choice: FrameChoice) -> None:
    """Set a choice, in the controls too, from the next run of the page."""
    session().frame_choices[clip.sha256] = choice
    session().restored_choices.add(clip.sha256)


def set_count(clip: StoredClip, count: int) -> None:
    if session().frame_choices[clip.sha256].strategy == "hand":
        st.session_state[_key("strategy", clip)] = "even"
    st.session_state[_key("count", clip)] = count


def set_times(clip: StoredClip, times_seconds: tuple[float, ...]) -> None:
    choices = session().frame_choices
    choices[clip.sha256] = replace(choices[clip.sha256], strategy="hand", times_seconds=times_seconds)
    st.session_state[_key("strategy", clip)] = "hand"


def draw_facts(clip: StoredClip, shown: SampledFrames | None) -> None:
    """One quiet line, and the rest on request. `shown`: the frames on the page, whose notes on the file are among it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"**{escape(clip.name)}**  \n{escape(clip.facts.describe())}", width="content")
        with st.popover("About this clip", type="tertiary"):
            notes = shown.sampled.file_notes if shown is not None else ()
            facts = (*clip.facts.details(), *notes)
            st.markdown("\n".join(f"- {escape(fact[:1].upper() + fact[1:])}" for fact in facts))


def draw(clip: StoredClip, spec: ModelSpec, shown: SampledFrames | None) -> FrameChoice:
    """Strategy, count and range. `shown`: the frames on the page, which "By hand" begins with."""
    before = _prepare(clip, spec)
    strategy: Any = st.segmented_control(
        "Frame selection",
        list(STRATEGY_NAMES),
        format_func=STRATEGY_NAMES.__getitem__,
        key=_key("strategy", clip),
        required=True,
        help="SmolVLM2 was trained on evenly spaced frames. Scene changes takes the frames that differ most, so that a short "
        "event in a long clip is not missed. By hand lets you remove frames and add others below the player.",
    )
    if strategy == "hand":
        on_page = tuple(frame.timestamp_seconds for frame in shown.sampled.frames) if shown else (0.0,)
        choice = replace(before, strategy="hand", times_seconds=before.times_seconds or on_page)
    else:
        rule = f"{escape(spec.title)} samples {spec.video_fps:g} frames per second, {spec.video_max_frames} at most."
        count = st.slider("Frames", 1, max_frames(clip), key=_key("count", clip), help=rule)
        choice = FrameChoice(count, span.draw(clip, before.range_seconds), strategy)
    session().frame_choices[clip.sha256] = choice
    return choice


def _prepare(clip: StoredClip, spec: ModelSpec) -> FrameChoice:
    """Give the widgets their values: Streamlit forgets them while another page is open, and a choice can be restored."""
    current, duration = session(), span.duration_of(clip)
    suggested = min(max_frames(clip), default_frame_count(duration, spec.video_fps, spec.video_max_frames))
    choice = current.frame_choices.get(clip.sha256, FrameChoice(suggested, (0.0, duration)))
    values = {"strategy": choice.strategy, "count": min(choice.count, max_frames(clip))}
    for name, value in values.items():
        if clip.sha256 in current.restored_choices:
            st.session_state[_key(name, clip)] = value
        st.session_state.setdefault(_key(name, clip), value)
    if clip.sha256 in current.restored_choices:
        span.restore(clip, choice.range_seconds)
    current.restored_choices.discard(clip.sha256)
    return choice


def draw_maximum(clip: StoredClip, most: int) -> None:
    st.button(
        f"Use the maximum: {most} frames",
        type="tertiary",
        icon=":material/playlist_add:",
        on_click=set_count,
        args=(clip, most),
    )


def draw_frames(clip: StoredClip, frames: SampledFrames, *, replaces_earlier: bool) -> None:
    """The player and the strip below it. A change there makes the choice one by hand."""
    shown = frames.sampled.frames
    times = tuple(frame.timestamp_seconds for frame in shown)

    def add(seconds: float) -> None:
        if len(times) < MAX_FRAMES:
            set_times(clip, tuple(sorted({*times, seconds})))

    def remove(index: int) -> None:
        others = tuple(frame.timestamp_seconds for frame in shown if frame.frame_index != index)
        if others:  # the model must be shown something
            set_times(clip, others)

    pictures = [
        unsaved(frame.image, f"{clip.name} at {time_text(frame.timestamp_seconds, 2)}", ref.sha256)
        for frame, ref in zip(shown, frames.attachment.frames)
    ]
    player.draw(clip.sha256, clip.facts, list(zip(shown, pictures)), on_add=add, on_remove=remove)
    text = f"The model is shown these {len(shown)} frames, read with {escape(frames.sampled.facts.decoder)}."
    st.caption(text + (" They take the place of the earlier ones." if replaces_earlier else ""))
    for note in frames.sampled.notes:
        st.warning(message(note[:1].upper() + note[1:] + "."), icon=":material/warning:")

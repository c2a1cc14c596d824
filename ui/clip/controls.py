"""The controls of a clip: how its frames are chosen, and the player with its strip, where they are changed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.video import default_frame_count
from ui.clip import player
from ui.clip.clips import Clip, FrameChoice, Taken
from ui.text import message

MOST_FRAMES = 64
STRATEGY_NAMES = {"even": "Evenly spaced", "scenes": "Scene changes", "hand": "By hand"}
FINE_STEPS_BELOW = 120.0  # seconds: in longer clips the range moves by whole seconds


def most(clip: Clip) -> int:
    return max(2, min(MOST_FRAMES, clip.facts.frame_count))


def chosen(clip: Clip) -> FrameChoice:
    return st.session_state["clip_choice"][clip.sha256]  # type: ignore[no-any-return]


def _key(name: str, clip: Clip) -> str:
    return f"{name}_{clip.sha256}"


def set_count(clip: Clip, count: int) -> None:
    if chosen(clip).strategy == "hand":
        st.session_state[_key("strategy", clip)] = "even"
    st.session_state[_key("count", clip)] = count


def set_times(clip: Clip, times_seconds: tuple[float, ...]) -> None:
    st.session_state["clip_choice"][clip.sha256] = replace(chosen(clip), strategy="hand", times_seconds=times_seconds)
    st.session_state[_key("strategy", clip)] = "hand"


def draw(clip: Clip, spec: ModelSpec, shown: Taken | None) -> None:
    """Strategy, count and range. What is chosen is kept apart from the widgets, which Streamlit forgets while another page
    is shown. `shown`: the frames on the page, which "By hand" begins with."""
    duration = max(clip.facts.duration_seconds, 0.1)
    suggested = min(most(clip), default_frame_count(duration, spec.video_fps, spec.video_max_frames))
    choice = st.session_state["clip_choice"].get(clip.sha256, FrameChoice(suggested, (0.0, duration)))
    start, end = choice.range_seconds
    begun = {
        "strategy": choice.strategy,
        "count": min(choice.count, most(clip)),
        "range": (min(start, duration), min(end, duration)),
    }
    for name, value in begun.items():
        if clip.sha256 in st.session_state["clip_restored"]:
            st.session_state[_key(name, clip)] = value
        st.session_state.setdefault(_key(name, clip), value)
    st.session_state["clip_restored"].discard(clip.sha256)
    strategy: Any = st.segmented_control(
        "Frames are chosen",
        list(STRATEGY_NAMES),
        format_func=STRATEGY_NAMES.__getitem__,
        key=_key("strategy", clip),
        required=True,
        help="Evenly spaced is how SmolVLM2 was trained. Scene changes takes the frames that differ most, so that a short "
        "event in a long clip is not missed. By hand: leave frames out and add others below the player.",
    )
    if strategy == "hand":
        on_page = tuple(frame.timestamp_seconds for frame in shown.sampled.frames) if shown else (0.0,)
        own = choice.times_seconds or on_page
        st.session_state["clip_choice"][clip.sha256] = replace(choice, strategy="hand", times_seconds=own)
        return
    left, right = st.columns(2)
    rule = f"{spec.title} samples {spec.video_fps:g} a second, {spec.video_max_frames} at most."
    count = left.slider("Frames", 1, most(clip), key=_key("count", clip), help=rule)
    step = 0.1 if duration < FINE_STEPS_BELOW else 1.0
    span: Any = right.slider("Range (seconds)", 0.0, duration, step=step, format="%.1f", key=_key("range", clip))
    st.session_state["clip_choice"][clip.sha256] = FrameChoice(count, span, strategy)


def draw_frames(clip: Clip, taken: Taken, *, replaced: bool) -> None:
    """The player and the strip below it: a change there makes the choice one by hand."""
    frames = taken.sampled.frames
    times = tuple(frame.timestamp_seconds for frame in frames)

    def add(seconds: float) -> None:
        if len(times) < MOST_FRAMES:
            set_times(clip, tuple(sorted({*times, seconds})))

    def remove(index: int) -> None:
        kept = tuple(frame.timestamp_seconds for frame in frames if frame.frame_index != index)
        if kept:  # the model is to be shown something
            set_times(clip, kept)

    told = f"The model is shown these {len(frames)} frames, read with {taken.sampled.facts.decoder}."
    st.caption(told + (" They take the place of the earlier ones." if replaced else ""))
    player.draw(clip.sha256, clip.facts, frames, on_add=add, on_remove=remove)
    for note in taken.sampled.notes:
        st.warning(message(note[:1].upper() + note[1:] + "."), icon=":material/warning:")

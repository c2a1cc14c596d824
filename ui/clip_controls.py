"""The controls of a clip: how its frames are chosen, and the player with its strip, where they are changed by hand."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from smolvlm_core.catalog import ModelSpec
from smolvlm_core.video import default_frame_count
from ui import player
from ui.clips import Clip, FrameChoice, Taken

MOST_FRAMES = 64
STRATEGY_NAMES = {"even": "Evenly spaced", "scenes": "Scene changes"}
FINE_STEPS_BELOW = 120.0  # seconds: in longer clips the range moves by whole seconds


def most(clip: Clip) -> int:
    return max(2, min(MOST_FRAMES, clip.facts.frame_count))


def chosen(clip: Clip) -> FrameChoice:
    return st.session_state["clip_choice"][clip.sha256]  # type: ignore[no-any-return]


def _choose(clip: Clip, choice: FrameChoice) -> None:
    st.session_state["clip_choice"][clip.sha256] = choice


def set_count(clip: Clip, count: int) -> None:
    st.session_state[f"count_{clip.sha256}"] = count


def draw(clip: Clip, spec: ModelSpec) -> None:
    """Strategy, count and range. What is chosen is kept apart from the widgets, which Streamlit forgets while another page
    is shown."""
    duration = max(clip.facts.duration_seconds, 0.1)
    suggested = min(most(clip), default_frame_count(duration, spec.video_fps, spec.video_max_frames))
    before = st.session_state["clip_choice"].get(clip.sha256, FrameChoice(suggested, (0.0, duration)))
    st.session_state.setdefault(f"strategy_{clip.sha256}", before.strategy)
    st.session_state.setdefault(f"count_{clip.sha256}", before.count)
    st.session_state.setdefault(f"range_{clip.sha256}", before.range_seconds)
    strategy = st.segmented_control(
        "Frames are chosen",
        list(STRATEGY_NAMES),
        format_func=STRATEGY_NAMES.__getitem__,
        key=f"strategy_{clip.sha256}",
        required=True,
        help="Evenly spaced is what SmolVLM2 was trained with. Scene changes looks for frames that differ, so that a short "
        "event in a long clip is not missed.",
    )
    left, right = st.columns(2)
    rule = f"{spec.title} samples {spec.video_fps:g} a second, {spec.video_max_frames} at most."
    count = left.slider("Frames", 1, most(clip), key=f"count_{clip.sha256}", help=rule)
    step = 0.1 if duration < FINE_STEPS_BELOW else 1.0
    span = right.slider("Range (seconds)", 0.0, duration, step=step, format="%.1f", key=f"range_{clip.sha256}")
    after = replace(before, count=count, range_seconds=span, strategy=strategy)
    if after != before:
        after = replace(after, removed_indices=frozenset())
    _choose(clip, after)


def draw_frames(clip: Clip, taken: Taken, *, replaced: bool) -> None:
    """The player and the strip below it."""
    choice = taken.choice
    frames = taken.sampled.frames

    def add(seconds: float) -> None:
        _choose(clip, replace(choice, added_seconds=(*choice.added_seconds, seconds)))

    def remove(index: int) -> None:
        if len(frames) == 1:
            return  # the model is to be shown something
        kept = tuple(t for t in choice.added_seconds if taken.by_hand[t].frame_index != index)
        _choose(clip, replace(choice, added_seconds=kept, removed_indices=choice.removed_indices | {index}))

    def reset() -> None:
        _choose(clip, replace(choice, added_seconds=(), removed_indices=frozenset()))

    st.caption(
        f"The model is shown these {len(frames)} frames."
        + (" They take the place of the earlier ones." if replaced else "")
    )
    player.draw(
        clip.sha256,
        clip.facts,
        frames,
        frozenset(frame.frame_index for frame in taken.by_hand.values()),
        changed=bool(choice.added_seconds or choice.removed_indices),
        on_add=add,
        on_remove=remove,
        on_reset=reset,
    )
    for note in taken.sampled.notes:
        st.warning(note[:1].upper() + note[1:] + ".", icon=":material/warning:")

"""The part of a clip that frames are taken from: a start and an end to type, and a slider, in step with each other."""

from __future__ import annotations

from typing import Any

import streamlit as st

from smolvlm_core.conversations.clip_frames import StoredClip
from smolvlm_core.times import Range, TypedRange, time_text, typed_range
from ui.text import show_error

STEPS_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
MOST_STEPS = 1200  # more than a slider has pixels; what is typed can lie between them
HELP = "Minutes and seconds, such as 12:30. Seconds alone (750) and hours (1:02:03.5) are read too."


def duration_of(clip: StoredClip) -> float:
    return max(clip.facts.duration_seconds, 0.1)


def restore(clip: StoredClip, seconds: Range) -> None:
    """Show this range, whatever is typed. Only before the fields are drawn, or in a callback."""
    start, end = (min(time, duration_of(clip)) for time in seconds)
    st.session_state[_key("span", clip)] = (start, end)
    st.session_state[_key("start", clip)], st.session_state[_key("end", clip)] = time_text(start), time_text(end)


def draw(clip: StoredClip, before: Range) -> Range:
    """`before`: the range where none was chosen on this page. What is typed and cannot be used stays in its field, with the
    reason below it."""
    if not all(_key(name, clip) in st.session_state for name in ("span", "start", "end")):
        restore(clip, before)
    typed = _typed(clip)
    start, end, slider = st.columns([3, 3, 8], vertical_alignment="bottom")
    start.text_input("Start", key=_key("start", clip), placeholder="0:00", on_change=_take_typed, args=(clip,))
    end.text_input("End", key=_key("end", clip), help=HELP, on_change=_take_typed, args=(clip,))
    with slider:
        _draw_slider(clip, typed.seconds)
    for problem in filter(None, (typed.start_error, typed.end_error)):
        show_error(problem)
    return typed.seconds


def _draw_slider(clip: StoredClip, current: Range) -> None:
    """A typed range gives it a new key: Streamlit does not let one slider have both a default, which makes it one with two ends,
    and a value that is set."""
    positions = _positions(duration_of(clip), current)
    shown_as_before = st.session_state.get(_key("slider", clip), (0, None))
    number = shown_as_before[0] + (shown_as_before[1] != current)
    st.session_state[_key("slider", clip)] = (number, current)
    key = _key(f"range_{number}", clip)
    st.select_slider(
        "Range",
        positions,
        current,
        key=key,
        format_func=time_text,
        label_visibility="collapsed",
        on_change=_take_slider,
        args=(clip, key),
    )


def _key(name: str, clip: StoredClip) -> str:
    return f"{name}_{clip.sha256}"


def _typed(clip: StoredClip) -> TypedRange:
    start, end, span = (st.session_state[_key(name, clip)] for name in ("start", "end", "span"))
    return typed_range(start, end, span, duration_of(clip))


def _take_typed(clip: StoredClip) -> None:
    """A time that is read is written as all times are; one that is not stays as it was typed."""
    typed = _typed(clip)
    texts = {"start": (typed.start_error, typed.seconds[0]), "end": (typed.end_error, typed.seconds[1])}
    for name, (error, seconds) in texts.items():
        # Setting an unchanged text too would undo what is being typed meanwhile.
        if not error and st.session_state[_key(name, clip)] != time_text(seconds):
            st.session_state[_key(name, clip)] = time_text(seconds)
    st.session_state[_key("span", clip)] = typed.seconds


def _take_slider(clip: StoredClip, key: str) -> None:
    """A browser can send the value of an earlier slider once more: it counts for nothing."""
    number, _ = st.session_state[_key("slider", clip)]
    if key == _key(f"range_{number}", clip):
        seconds: Any = st.session_state[key]
        st.session_state[_key("slider", clip)] = (number, seconds)
        restore(clip, seconds)


def _positions(duration_seconds: float, current: Range) -> list[float]:
    """The slider's times, each with a text of its own."""
    step = next(
        (step for step in STEPS_SECONDS if duration_seconds / step <= MOST_STEPS), duration_seconds / MOST_STEPS
    )
    grid = [round(step * number, 2) for number in range(int(duration_seconds / step) + 1)]
    by_text = {time_text(time): time for time in (*grid, duration_seconds)} | {
        time_text(time): time for time in current
    }
    return sorted(by_text.values())

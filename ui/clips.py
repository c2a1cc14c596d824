"""The clip of the video page: what is known of it, which frames were chosen, and those frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from smolvlm_core.attach import describe_clip
from smolvlm_core.chat import Attachment, active_turns
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.store import Store
from smolvlm_core.video import (
    ClipFacts,
    Frame,
    SampledClip,
    Strategy,
    open_clip,
    sample_clip,
    take_frames,
    with_changes,
)
from ui import state


@dataclass(frozen=True)
class Clip:
    sha256: str
    name: str
    facts: ClipFacts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameChoice:
    """What the person chose: `added_seconds` and `removed_indices` by hand, the rest by the controls."""

    count: int
    range_seconds: tuple[float, float]
    strategy: Strategy = "even"
    added_seconds: tuple[float, ...] = ()
    removed_indices: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Taken:
    """The frames on the page: what was asked for, what came, and how it would be attached."""

    sha256: str
    choice: FrameChoice
    by_rule: SampledClip
    by_hand: dict[float, Frame]
    sampled: SampledClip
    attachment: Attachment
    pngs: dict[str, bytes]

    def png_by_index(self) -> dict[int, bytes]:
        return {frame.frame_index: self.pngs[frame.sha256] for frame in self.attachment.frames}


def open_kept(store: Store, sha256: str, name: str) -> Clip:
    """Raises MediaError, which speaks of `name` and not of the file that it is kept in."""
    path = store.media_path(sha256)
    try:
        opened = open_clip(path)
    except MediaError as error:
        raise MediaError(error.args[0].replace(path.name, name), error.hint) from error
    opened.close()
    return Clip(sha256, name, opened.facts, opened.notes)


def take(
    store: Store, clip: Clip, choice: FrameChoice, held: Taken | None, progress: Callable[[int, int], None]
) -> Taken:
    """Only what `held` does not have is decoded. Raises MediaError."""
    path = store.media_path(clip.sha256)
    if held is not None and held.sha256 != clip.sha256:
        held = None
    if held is not None and _rule(held.choice) == _rule(choice):
        by_rule = held.by_rule
    else:
        by_rule = sample_clip(path, choice.count, choice.range_seconds, choice.strategy, progress=progress)
    by_hand = {t: f for t, f in held.by_hand.items() if t in choice.added_seconds} if held is not None else {}
    for time in choice.added_seconds:
        if time not in by_hand:
            by_hand[time] = take_frames(path, [time]).frames[0]
    sampled = with_changes(by_rule, list(by_hand.values()), choice.removed_indices)
    known = held.png_by_index() if held is not None else {}
    attachment, pngs = describe_clip(clip.sha256, clip.name, sampled, choice.range_seconds, known)
    return Taken(clip.sha256, choice, by_rule, by_hand, sampled, attachment, pngs)


def _rule(choice: FrameChoice) -> tuple[int, tuple[float, float], Strategy]:
    return choice.count, choice.range_seconds, choice.strategy


def clip_of_conversation(store: Store, conversation: str) -> Clip | None:
    """The last clip asked about, for a conversation that was opened again."""
    videos = [
        a
        for question, _ in active_turns(store.messages(conversation))
        for a in question.attachments
        if a.kind == "video"
    ]
    if not videos:
        return None
    last = videos[-1]
    try:
        clip = open_kept(store, last.sha256, last.name)
    except LensError as error:
        state.notify(error)
        return None
    if last.range_seconds is not None:
        choice = FrameChoice(len(last.frames), last.range_seconds)
        st.session_state["clip_choice"].setdefault(last.sha256, choice)
    return clip


def drop_earlier_frames(store: Store, conversation: str) -> None:
    """The model is shown one set of frames at a time; the earlier ones stay in the transcript, marked."""
    for question, _ in active_turns(store.messages(conversation)):
        for attachment in question.attachments:
            if attachment.kind == "video" and attachment.shown:
                store.set_shown(question.id, attachment.sha256, False)

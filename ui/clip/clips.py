"""The clip of the video page: what is known of it, which frames were chosen, and those frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from smolvlm_core.conversations.attachments import describe_clip
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.prompt.messages import Attachment, active_turns
from smolvlm_core.video import ClipFacts, SampledClip, Strategy, damage_notes, open_clip, sample_clip, take_frames
from ui import state


@dataclass(frozen=True)
class Clip:
    sha256: str
    name: str
    facts: ClipFacts


@dataclass(frozen=True)
class FrameChoice:
    """How the frames are chosen: `count` of them by a strategy within the range, or those at `times_seconds` by hand."""

    count: int
    range_seconds: tuple[float, float]
    strategy: Strategy | Literal["hand"] = "even"
    times_seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Taken:
    """The frames on the page: what was asked for, what came, and how it would be attached."""

    sha256: str
    choice: FrameChoice
    sampled: SampledClip
    attachment: Attachment
    pngs: dict[str, bytes]


def open_kept(store: Store, sha256: str, name: str) -> Clip:
    """Raises MediaError, which speaks of `name` and not of the file that it is kept in."""
    path = store.media_path(sha256)
    with _speaking_of(name, path):
        opened = open_clip(path)
    opened.close()
    return Clip(sha256, name, opened.facts)


@contextmanager
def _speaking_of(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except MediaError as error:
        raise MediaError(error.args[0].replace(path.name, name), error.hint) from error


def take(
    store: Store, clip: Clip, choice: FrameChoice, held: Taken | None, progress: Callable[[int, int], None]
) -> Taken:
    """Frames as chosen. Of those chosen by hand, only what `held` does not have is decoded. Raises MediaError."""
    path, known = store.media_path(clip.sha256), {}
    with _speaking_of(clip.name, path):
        if choice.strategy != "hand":
            sampled = sample_clip(path, choice.count, choice.range_seconds, choice.strategy, progress=progress)
        elif held is not None and held.sha256 == clip.sha256:
            sampled = _with_times(path, held.sampled, choice.times_seconds)
            known = {ref.timestamp_seconds: held.pngs[ref.sha256] for ref in held.attachment.frames}
        else:
            sampled = take_frames(path, choice.times_seconds, progress=progress)
    made, pngs = describe_clip(clip.sha256, clip.name, sampled, choice.range_seconds, choice.strategy, known)
    return Taken(clip.sha256, choice, sampled, made, pngs)


def _with_times(path: Path, held: SampledClip, times_seconds: tuple[float, ...]) -> SampledClip:
    """What is told of kept frames is told again of those that stay; of new ones, all that was found."""
    have = {frame.timestamp_seconds: frame for frame in held.frames}
    kept = [have[time] for time in times_seconds if time in have]
    notes = (*held.file_notes, *damage_notes(kept))
    by_time = {frame.timestamp_seconds: frame for frame in kept}
    if missing := [time for time in times_seconds if time not in have]:
        new = take_frames(path, missing)
        notes += new.notes[len(new.file_notes) :]
        by_time |= {frame.timestamp_seconds: frame for frame in new.frames}
    return SampledClip(held.facts, tuple(by_time[time] for time in sorted(by_time)), notes, held.file_notes)


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
        times = tuple(frame.timestamp_seconds for frame in last.frames)
        strategy: Any = last.strategy or "even"
        choice = FrameChoice(len(last.frames), last.range_seconds, strategy, times if strategy == "hand" else ())
        restore_choice(last.sha256, choice)
    return clip


def restore_choice(sha256: str, choice: FrameChoice) -> None:
    """In the controls too, from the next run of the page."""
    st.session_state["clip_choice"][sha256] = choice
    st.session_state["clip_restored"].add(sha256)


def drop_earlier_frames(store: Store, conversation: str) -> None:
    """The model is shown one set of frames at a time; the earlier ones stay in the transcript, marked."""
    for question, _ in active_turns(store.messages(conversation)):
        for attachment in question.attachments:
            if attachment.kind == "video" and attachment.shown:
                store.set_shown(question.id, attachment.sha256, False)

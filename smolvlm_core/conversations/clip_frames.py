"""Samples frames from a stored clip and describes them as an attachment.

Knows clips and the store. Does not know the widgets that select frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smolvlm_core.conversations.attachments import describe_clip
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import MediaError
from smolvlm_core.prompt.messages import Attachment, active_turns
from smolvlm_core.video import (
    ClipFacts,
    SampledClip,
    Strategy,
    damage_notes,
    open_clip,
    sample_clip,
    take_frames,
)


@dataclass(frozen=True)
class StoredClip:
    """A clip in the store."""

    sha256: str
    name: str
    facts: ClipFacts


@dataclass(frozen=True)
class FrameChoice:
    """`count` frames selected by a strategy within the range, or with "hand", the frames at `times_seconds`."""

    count: int
    range_seconds: tuple[float, float]
    strategy: Strategy | Literal["hand"] = "even"
    times_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SampledFrames:
    """The sampled frames, the choice they come from, and their attachment. `pngs` maps SHA-256 to PNG bytes."""

    sha256: str
    choice: FrameChoice
    sampled: SampledClip
    attachment: Attachment
    pngs: dict[str, bytes]


def open_stored_clip(store: Store, sha256: str, name: str) -> StoredClip:
    """Open a stored clip. Raises MediaError, whose message has `name` instead of the stored file's name."""
    path = store.media.path(sha256)
    with errors_named(name, path):
        opened = open_clip(path)
    opened.close()
    return StoredClip(sha256, name, opened.facts)


def sample_frames(
    store: Store,
    clip: StoredClip,
    choice: FrameChoice,
    before: SampledFrames | None,
    progress: Callable[[int, int], None],
) -> SampledFrames:
    """Decode the chosen frames. For a choice by hand, frames that are in `before` are reused. Raises MediaError."""
    path, encoded = store.media.path(clip.sha256), {}
    with errors_named(clip.name, path):
        if choice.strategy != "hand":
            sampled = sample_clip(path, choice.count, choice.range_seconds, choice.strategy, progress=progress)
        elif before is not None and before.sha256 == clip.sha256:
            sampled = _at_times(path, before.sampled, choice.times_seconds)
            encoded = {ref.timestamp_seconds: before.pngs[ref.sha256] for ref in before.attachment.frames}
        else:
            sampled = take_frames(path, choice.times_seconds, progress=progress)
    attachment, pngs = describe_clip(clip.sha256, clip.name, sampled, choice.range_seconds, choice.strategy, encoded)
    return SampledFrames(sha256=clip.sha256, choice=choice, sampled=sampled, attachment=attachment, pngs=pngs)


def _at_times(path: Path, before: SampledClip, times_seconds: tuple[float, ...]) -> SampledClip:
    """Reuse decoded frames and decode the missing ones. Repeats the notes on the file and on reused frames."""
    decoded = {frame.timestamp_seconds: frame for frame in before.frames}
    reused = [decoded[time] for time in times_seconds if time in decoded]
    notes = (*before.file_notes, *damage_notes(reused))
    by_time = {frame.timestamp_seconds: frame for frame in reused}
    if missing := [time for time in times_seconds if time not in decoded]:
        new = take_frames(path, missing)
        notes += new.notes[len(new.file_notes) :]
        by_time |= {frame.timestamp_seconds: frame for frame in new.frames}
    return SampledClip(before.facts, tuple(by_time[time] for time in sorted(by_time)), notes, before.file_notes)


def last_clip(store: Store, conversation: str) -> tuple[StoredClip, FrameChoice | None] | None:
    """The last clip in a conversation, and the frame choice if it was stored.

    Raises:
        LensError: the clip's file is missing or damaged.
    """
    last = last_clip_asked_about(store, conversation)
    if last is None:
        return None
    clip = open_stored_clip(store, last.sha256, last.name)
    if last.range_seconds is None:
        return clip, None
    strategy: Any = last.strategy or "even"
    times = tuple(frame.timestamp_seconds for frame in last.frames) if strategy == "hand" else ()
    return clip, FrameChoice(len(last.frames), last.range_seconds, strategy, times)


def last_clip_asked_about(store: Store, conversation: str) -> Attachment | None:
    """The last clip in the chosen branch of a conversation, whether its file is there or not."""
    turns = active_turns(store.messages(conversation))
    videos = [a for question, _ in turns for a in question.attachments if a.kind == "video"]
    return videos[-1] if videos else None


@contextmanager
def errors_named(name: str, source: Path | bytes) -> Iterator[None]:
    """Errors about a stored file have the user's name for it, not its path."""
    try:
        yield
    except MediaError as error:
        if isinstance(source, bytes):
            raise
        message = error.args[0].replace(str(source), name).replace(source.name, name)
        raise MediaError(message, error.hint) from error

"""The clip of the video page: what is known of it, its strip of frames."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from smolvlm_core.chat import Attachment, active_turns
from smolvlm_core.errors import LensError
from smolvlm_core.store import Store
from smolvlm_core.video import ClipFacts, SampledClip, open_clip
from ui import state
from ui.frames import draw_frames


@dataclass(frozen=True)
class Clip:
    sha256: str
    name: str
    facts: ClipFacts

    def told(self) -> str:
        facts = self.facts
        turned = f" · rotated {facts.rotation_degrees}°" if facts.rotation_degrees else ""
        size = f"{facts.duration_seconds:.1f} s · {facts.width} × {facts.height}{turned}"
        return f"{size} · {facts.fps:.4g} frames a second · {facts.frame_count} frames · read with {facts.decoder}"


@dataclass(frozen=True)
class Taken:
    """The frames on the page: what was asked for, what came, and how it would be attached."""

    wanted: tuple[str, int, float, float]
    sampled: SampledClip
    described: tuple[Attachment, dict[str, bytes]]


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
    try:
        opened = open_clip(store.media_path(videos[-1].sha256))
    except LensError as error:
        state.notify(error)
        return None
    opened.close()
    last = videos[-1]
    if last.range_seconds is not None:
        st.session_state["clip_choice"].setdefault(last.sha256, (len(last.frames), last.range_seconds))
    return Clip(last.sha256, last.name, opened.facts)


def draw_strip(sampled: SampledClip, *, replaced: bool) -> None:
    st.caption("The model is shown these frames:" + (" They take the place of the earlier ones." if replaced else ""))
    draw_frames([(f.timestamp_seconds, f.image) for f in sampled.frames])
    for note in sampled.notes:
        st.warning(note, icon=":material/warning:")


def drop_earlier_frames(store: Store, conversation: str) -> None:
    """The model is shown one set of frames at a time; the earlier ones stay in the transcript, marked."""
    for question, _ in active_turns(store.messages(conversation)):
        for attachment in question.attachments:
            if attachment.kind == "video" and attachment.shown:
                store.set_shown(question.id, attachment.sha256, False)

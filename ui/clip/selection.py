"""The clip of the video page: choosing one, and its frames as chosen."""

from __future__ import annotations

from typing import BinaryIO

import streamlit as st

from smolvlm_core.conversations.clip_frames import (
    FrameChoice,
    SampledFrames,
    StoredClip,
    last_clip,
    last_clip_asked_about,
    open_stored_clip,
    sample_frames,
)
from smolvlm_core.errors import LensError
from ui import state, uploaders
from ui.clip import controls
from ui.state import session, workspace


def use(file: BinaryIO, name: str) -> None:
    """Open a clip for a new conversation. Raises LensError where it cannot be used or stored."""
    state.open_conversation("video", None)
    store, sha256 = workspace().store, ""
    try:
        workspace().refuse_if_full(uploaders.size_bytes(file))
        sha256 = store.media.add_file(file, name, "video/mp4")
        session().clip = open_stored_clip(store, sha256, name)
    except LensError:
        if sha256:
            store.discard({sha256})
        raise


def current(conversation: str | None) -> StoredClip | None:
    """The clip of the page; for a conversation that was opened again, the one it last asked about."""
    if conversation and session().clip is None and not is_missing(conversation):
        try:
            found = last_clip(workspace().store, conversation)
        except LensError as error:
            state.notify(error)
            return None
        if found is not None:
            session().clip, choice = found
            if choice is not None:
                controls.restore(found[0], choice)
    return session().clip


def is_missing(conversation: str | None) -> bool:
    """Whether the clip of a conversation is not in the data folder: it was imported. Its frames are there."""
    clip = last_clip_asked_about(workspace().store, conversation) if conversation else None
    try:
        return clip is not None and not workspace().store.media.path(clip.sha256).is_file()
    except LensError:  # a damaged database
        return False


def draw_missing() -> None:
    st.info(
        "This conversation was imported. Its frames are here, the clip is not: exports do not contain clips. You can ask about "
        "these frames. For others, add the clip again: it begins a new conversation.",
        icon=":material/movie_off:",
    )


def frames_on_page(clip: StoredClip) -> SampledFrames | None:
    """Those of the run before this one."""
    frames = session().sampled
    return frames if frames is not None and frames.sha256 == clip.sha256 else None


def frames_as_chosen(clip: StoredClip, choice: FrameChoice) -> SampledFrames:
    """Decoded again only where the choice has changed. Raises MediaError."""
    before = frames_on_page(clip)
    if before is not None and before.choice == choice:
        return before
    bar = st.progress(0.0, text="Decoding frames…")

    def show(done: int, of: int) -> None:
        bar.progress(done / of, text=f"Frame {done} of {of}")

    try:
        frames = sample_frames(workspace().store, clip, choice, before, show)
    except LensError as error:
        if before is None:
            raise
        state.notify(error)  # the frames from before stay
        controls.restore(clip, before.choice)
        st.rerun()
    bar.empty()
    session().sampled = frames
    return frames

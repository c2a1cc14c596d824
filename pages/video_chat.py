"""Chat about a clip: the frames the model is shown, their cost, and the questions."""

from pathlib import Path
from typing import BinaryIO

import streamlit as st

from smolvlm_core.conversations import context as cost
from smolvlm_core.conversations.attachments import keep_frames
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment, active_turns
from smolvlm_core.video import VIDEO_EXTENSIONS
from ui import gallery, state
from ui.chat import sidebar, transcript
from ui.clip import controls as clip_controls
from ui.clip.clips import Clip, Taken, clip_of_conversation, drop_earlier_frames, open_kept, restore_choice, take
from ui.text import escape, show_error

store = state.prepare()


def use(file: BinaryIO, name: str) -> None:
    state.open_conversation("video", None)
    sha256 = ""
    try:
        sha256 = store.add_file(file, name, "video/mp4")
        st.session_state["clip"] = open_kept(store, sha256, name)
    except LensError as error:
        if sha256:
            store.discard({sha256})
        state.notify(error)


def use_upload(key: str) -> None:
    """`key` of the uploader that called: the round may have moved on since that uploader was drawn."""
    upload = st.session_state.get(key)
    st.session_state["inlet_round"] += 1
    if upload is not None:
        use(upload, upload.name)
        state.forget_upload(upload)


def use_sample(path: Path) -> None:
    with path.open("rb") as file:
        use(file, path.name)


def draw_inlet(opened: bool) -> None:
    with st.expander("Choose a clip", expanded=opened, icon=":material/video_call:"):
        key = f"clip_inlet_{st.session_state['inlet_round']}"
        st.file_uploader(
            "Drop or choose a clip", type=list(VIDEO_EXTENSIONS), key=key, on_change=use_upload, args=(key,)
        )
        for path in gallery.clips():
            st.button(
                f"Use the sample: {path.stem.replace('-', ' ')}",
                key=f"clip_{path.stem}",
                icon=":material/movie:",
                on_click=use_sample,
                args=(path,),
            )


def held_frames(clip: Clip) -> Taken | None:
    """Those on the page before this run."""
    held: Taken | None = st.session_state["sampled"]
    return held if held is not None and held.sha256 == clip.sha256 else None


def taken_frames(clip: Clip) -> Taken:
    """As chosen; decoded again only where the choice has changed. Raises MediaError."""
    wanted, held = clip_controls.chosen(clip), held_frames(clip)
    if held is None or held.choice != wanted:
        bar = st.progress(0.0, text="Taking frames…")
        try:
            held = take(store, clip, wanted, held, lambda n, of: bar.progress(n / of, text=f"Frame {n} of {of}"))
        except LensError as error:
            if held is None:
                raise
            state.notify(error)  # and the frames from before are kept
            restore_choice(clip.sha256, held.choice)
            st.rerun()
        bar.empty()
        st.session_state["sampled"] = held
    return held


def is_shown_already(made: Attachment) -> bool:
    said = store.messages(conversation) if conversation else []
    return any(a.shown and a.frames == made.frames for q, _ in active_turns(said) for a in q.attachments)


def draw_cost(clip: Clip, made: Attachment, spent: cost.Cost) -> None:
    most = cost.most_frames(
        store, choice.spec, conversation, made, choice.settings.system_prompt, clip_controls.most(clip)
    )
    if spent.fits:
        st.caption(f"With the next question: {spent.told()}.")
    else:
        st.error(f"This does not fit: {spent.told()}.", icon=":material/error:")
    by_hand = made.strategy == "hand"
    if not spent.fits or (most > len(made.frames) and not by_hand):
        st.button(
            f"Use {most} frames{', evenly spaced' if by_hand else ''}"
            if not spent.fits
            else f"As many as fit: {most} frames",
            type="primary" if not spent.fits else "tertiary",
            icon=":material/playlist_add:" if spent.fits else None,
            on_click=clip_controls.set_count,
            args=(clip, most),
        )


choice = sidebar.draw(store, "video")
conversation = state.conversation("video")
if conversation and st.session_state["clip"] is None:
    st.session_state["clip"] = clip_of_conversation(store, conversation)
clip: Clip | None = st.session_state["clip"]
st.title("Video chat")
sidebar.warn_if_blind(choice)
if clip is None:
    st.caption("Choose a clip. The model is shown some of its frames: you see which, and decide.")
state.show_notices()
question = st.chat_input("Ask about the clip", submit_mode="stop", key="ask_video", disabled=clip is None)
draw_inlet(opened=clip is None)
taken: Taken | None = None
spent: cost.Cost | None = None
attachments: tuple[Attachment, ...] = ()
if clip is not None:
    st.caption(escape(clip.facts.told()))
    try:
        clip_controls.draw(clip, choice.spec, held_frames(clip))
        taken = taken_frames(clip)
    except LensError as error:
        show_error(error)
if clip is not None and taken is not None:
    attachments = () if is_shown_already(taken.attachment) else (taken.attachment,)
    clip_controls.draw_frames(clip, taken, replaced=bool(attachments) and conversation is not None)
    spent = cost.of_next_question(
        store, choice.spec, conversation, attachments, choice.settings.system_prompt, drop_clips=bool(attachments)
    )
    draw_cost(clip, taken.attachment, spent)


def prepare() -> None:
    if taken is None or not attachments:
        return
    if conversation:
        drop_earlier_frames(store, conversation)
    keep_frames(store, taken.pngs)


if question:
    if spent is None or not spent.fits:
        why = "Choose fewer frames first." if spent else "No frames can be taken from this clip."
        state.notify(f"{why} Your question: {question}")
    else:
        transcript.ask(store, "video", choice, question.strip(), attachments, prepare)
    state.show_notices()
transcript.draw(store, "video", choice)

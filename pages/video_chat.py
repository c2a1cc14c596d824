"""Chat about a clip: the frames the model is shown, their cost, and the questions."""

import streamlit as st

from smolvlm_core.attach import describe_clip, keep_frames
from smolvlm_core.chat import Attachment, active_turns
from smolvlm_core.errors import LensError
from smolvlm_core.video import VIDEO_EXTENSIONS, SampledClip, default_frame_count, open_clip, sample_clip
from ui import cost, gallery, sidebar, state, transcript
from ui.clips import Clip, Taken, clip_of_conversation, draw_strip, drop_earlier_frames

store = state.prepare()


def take(data: bytes, name: str) -> None:
    sha256 = ""
    try:
        sha256 = store.add_media(data, name, "video/mp4")
        opened = open_clip(store.media_path(sha256))
        opened.close()
    except LensError as error:
        if sha256:
            store.discard({sha256})
        state.notify(error)
        return
    st.session_state["clip"], st.session_state["sampled"] = Clip(sha256, name, opened.facts), None


def take_upload() -> None:
    upload = st.session_state[f"clip_inlet_{st.session_state['inlet_round']}"]
    st.session_state["inlet_round"] += 1
    if upload is not None:
        state.open_conversation("video", None)
        take(upload.getvalue(), upload.name)


def take_sample(index: int) -> None:
    path = gallery.clips()[index]
    state.open_conversation("video", None)
    take(path.read_bytes(), path.name)


def draw_inlet(opened: bool) -> None:
    with st.expander("Choose a clip", expanded=opened, icon=":material/video_call:"):
        st.file_uploader(
            "Drop or choose a clip",
            type=list(VIDEO_EXTENSIONS),
            key=f"clip_inlet_{st.session_state['inlet_round']}",
            on_change=take_upload,
        )
        for index, path in enumerate(gallery.clips()):
            st.button(
                f"Use the sample: {path.stem.replace('-', ' ')}",
                key=f"clip_{path.stem}",
                icon=":material/movie:",
                on_click=take_sample,
                args=(index,),
            )


def choose_frames(clip: Clip, spec: sidebar.ModelSpec) -> SampledClip:
    """Count and range, then the frames themselves; decoded again only when one of the two has changed."""
    duration = max(clip.facts.duration_seconds, 0.1)
    most = max(2, min(64, clip.facts.frame_count))
    suggested = min(most, default_frame_count(duration, spec.video_fps, spec.video_max_frames))
    chosen = st.session_state["clip_choice"].get(clip.sha256, (suggested, (0.0, duration)))
    st.session_state.setdefault(f"count_{clip.sha256}", chosen[0])
    st.session_state.setdefault(f"range_{clip.sha256}", chosen[1])
    left, right = st.columns(2)
    rule = f"{spec.title} samples {spec.video_fps:g} a second, {spec.video_max_frames} at most."
    count = left.slider("Frames", 1, most, key=f"count_{clip.sha256}", help=rule)
    start, end = right.slider(
        "Range (seconds)", 0.0, duration, step=duration / 100, format="%.1f", key=f"range_{clip.sha256}"
    )
    # Kept apart from the widgets, which streamlit forgets while another page is shown.
    st.session_state["clip_choice"][clip.sha256] = (count, (start, end))
    end = max(end, start + min(0.05, duration))
    wanted = (clip.sha256, count, start, end)
    held: Taken | None = st.session_state["sampled"]
    if held is None or held.wanted != wanted:
        bar = st.progress(0.0, text="Taking frames…")
        sampled = sample_clip(
            store.media_path(clip.sha256),
            count,
            (start, end),
            progress=lambda done, of: bar.progress(done / of, text=f"Frame {done} of {of}"),
        )
        bar.empty()
        held = Taken(wanted, sampled, describe_clip(clip.sha256, clip.name, sampled, (start, end)))
        st.session_state["sampled"] = held
    return held.sampled


def is_shown_already(made: Attachment) -> bool:
    said = store.messages(conversation) if conversation else []
    return any(a.shown and a.frames == made.frames for q, _ in active_turns(said) for a in q.attachments)


choice = sidebar.draw(store, "video")
conversation = state.conversation("video")
if conversation and st.session_state["clip"] is None:
    st.session_state["clip"] = clip_of_conversation(store, conversation)
clip: Clip | None = st.session_state["clip"]
st.title("Video chat")
if clip is None:
    st.caption("Choose a clip. The model is shown some of its frames: you see which, and decide.")
state.show_notices()
question = st.chat_input("Ask about the clip", submit_mode="stop", key="ask_video", disabled=clip is None)
draw_inlet(opened=clip is None)
sampled, spent = None, None
if clip is not None:
    st.video(str(store.media_path(clip.sha256)))
    st.caption(clip.told())
    try:
        sampled = choose_frames(clip, choice.spec)
    except LensError as error:
        st.error(str(error), icon=":material/error:")
if clip is not None and sampled is not None:
    made, pngs = st.session_state["sampled"].described
    attachments = () if is_shown_already(made) else (made,)
    draw_strip(sampled, replaced=bool(attachments) and conversation is not None)
    spent = cost.of_next_question(
        store, choice.spec, conversation, attachments, choice.settings.system_prompt, drop_clips=bool(attachments)
    )
    if spent.fits:
        st.caption(f"With the next question: {spent.told()}.")
    else:
        fewer = cost.frames_that_fit(spent, len(sampled.frames), choice.spec)
        st.error(f"This does not fit: {spent.told()}.", icon=":material/error:")
        st.button(
            f"Use {fewer} frames",
            type="primary",
            on_click=st.session_state.__setitem__,
            args=(f"count_{clip.sha256}", fewer),
        )


def prepare() -> None:
    if attachments and conversation:
        drop_earlier_frames(store, conversation)
    keep_frames(store, pngs)


if question:
    if spent is None or not spent.fits:
        why = "Choose fewer frames first." if spent else "No frames can be taken from this clip."
        state.notify(f"{why} Your question: {question}")
    else:
        transcript.ask(store, "video", choice, question.strip(), attachments, prepare)
    state.show_notices()
transcript.draw(store, "video", choice)

"""Chat about a clip: the frames the model is shown, their cost, and the questions."""

import streamlit as st

from smolvlm_core.conversations import context
from smolvlm_core.conversations.attachments import store_frames
from smolvlm_core.conversations.clip_frames import SampledFrames, StoredClip
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment, active_turns
from ui import state
from ui.chat import gauge, sidebar, transcript, unsent
from ui.clip import controls, selection
from ui.state import workspace
from ui.text import escape, show_error

store = workspace().store
choice = sidebar.draw("video")
spec, system_prompt = choice.backend.spec, choice.settings.system_prompt
conversation = state.conversation("video")
clip = selection.current(conversation)
only_frames = clip is None and selection.is_missing(conversation)
st.title("Video chat")
sidebar.warn_if_blind(choice)
if only_frames:
    st.info(
        "This conversation was imported. Its frames are here, the clip is not: exports do not contain clips. You can ask about "
        "these frames. For others, choose the clip again.",
        icon=":material/movie_off:",
    )
elif clip is None:
    st.caption("Choose a clip. The model is shown some of its frames: you see which, and you decide.")
state.show_notices()
question = st.chat_input(
    "Ask about the clip", submit_mode="stop", key="ask_video", disabled=clip is None and not only_frames
)
question = unsent.draw("video") or question
selection.draw_uploader(expanded=clip is None and not only_frames)
frames: SampledFrames | None = None
spent: context.Cost | None = None
attachments: tuple[Attachment, ...] = ()


def is_shown_already(attachment: Attachment) -> bool:
    messages = store.messages(conversation) if conversation else []
    return any(a.shown and a.frames == attachment.frames for q, _ in active_turns(messages) for a in q.attachments)


def draw_cost(clip: StoredClip, attachment: Attachment, spent: context.Cost) -> None:
    most = context.most_frames(store, spec, conversation, attachment, system_prompt, controls.max_frames(clip))
    by_hand = attachment.strategy == "hand"
    if spent.fits:
        st.caption(f"{spent.describe()}.")
        if most > len(attachment.frames) and not by_hand:
            st.button(
                f"Use the maximum: {most} frames",
                type="tertiary",
                icon=":material/playlist_add:",
                on_click=controls.set_count,
                args=(clip, most),
            )
    else:
        show_error(f"This does not fit: {spent.describe()}.")
        label = f"Use {most} frames{', evenly spaced' if by_hand else ''}"
        st.button(label, type="primary", on_click=controls.set_count, args=(clip, most))


if only_frames:
    spent = context.of_next_question(store, spec, conversation, (), system_prompt, memory_of=choice.memory_of)
if clip is not None:
    st.caption(escape(clip.facts.describe()))
    try:
        frame_choice = controls.draw(clip, spec, selection.frames_on_page(clip))
        frames = selection.frames_as_chosen(clip, frame_choice)
    except LensError as error:
        show_error(error)
if clip is not None and frames is not None:
    attachments = () if is_shown_already(frames.attachment) else (frames.attachment,)
    controls.draw_frames(clip, frames, replaces_earlier=bool(attachments) and conversation is not None)
    spent = context.of_next_question(
        store,
        spec,
        conversation,
        attachments,
        system_prompt,
        drop_clips=bool(attachments),
        memory_of=choice.memory_of,
    )
    draw_cost(clip, frames.attachment, spent)


def store_current_frames() -> None:
    if frames is None or not attachments:
        return
    workspace().refuse_if_full(sum(len(png) for png in frames.pngs.values()))
    store_frames(store, frames.pngs)


if question:
    if spent is None or not spent.fits:
        why = "Choose fewer frames first." if spent else "No frames can be read from this clip."
        state.notify(f"{why} Your question: {question}")
    elif not transcript.ask("video", choice, question.strip(), attachments, store_current_frames):
        st.rerun()  # what was not sent is drawn above
    state.show_notices()
transcript_area = st.container()
gauge.draw("video", choice, attachments, drop_clips=bool(attachments))
with transcript_area:
    transcript.draw("video", choice)

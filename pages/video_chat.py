"""Chat about a clip: the frames the model is shown, their cost, and the questions."""

import streamlit as st

from smolvlm_core.conversations import context
from smolvlm_core.conversations.attachments import store_frames
from smolvlm_core.conversations.clip_frames import SampledFrames, StoredClip, hide_earlier_frames
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment, active_turns
from ui import state
from ui.chat import box, sidebar, transcript, unsent
from ui.clip import controls, layout, selection
from ui.state import workspace
from ui.text import show_error

store = workspace().store
choice = sidebar.draw("video")
spec, system_prompt = choice.backend.spec, choice.settings.system_prompt
conversation = state.conversation("video")
clip = selection.current(conversation)
turns = active_turns(store.messages(conversation)) if conversation else []
st.title("Video chat")
sidebar.warn_if_blind(choice)
if clip is None:
    st.caption("Choose a clip. The model is shown some of its frames: you see which, and you decide.")
state.show_notices()
cost_line = st.bottom.container(key="cost")
question = box.draw("video", "Ask about the clip", disabled=clip is None)
question = unsent.draw("video") or question
frames: SampledFrames | None = None
spent: context.Cost | None = None
attachments: tuple[Attachment, ...] = ()


def is_shown_already(attachment: Attachment) -> bool:
    return any(a.shown and a.frames == attachment.frames for q, _ in turns for a in q.attachments)


def draw_cost(clip: StoredClip, attachment: Attachment, spent: context.Cost) -> None:
    most = context.most_frames(store, spec, conversation, attachment, system_prompt, controls.max_frames(clip))
    by_hand = attachment.strategy == "hand"
    if spent.fits:
        cost_line.caption(f"{spent.describe()}.")
        if most > len(attachment.frames) and not by_hand:
            controls.draw_maximum(clip, most)
    else:
        with cost_line:
            show_error(f"This does not fit: {spent.describe()}.")
            label = f"Use {most} frames{', evenly spaced' if by_hand else ''}"
            st.button(label, type="primary", on_click=controls.set_count, args=(clip, most))


if clip is None:
    selection.draw_uploader(expanded=True)
    chat_side = st.container()
else:
    clip_side, chat_side = layout.draw(clip.name, conversation, len(turns))
    with clip_side:
        controls.draw_facts(clip, selection.frames_on_page(clip))
        player_place = st.container()
        try:
            frame_choice = controls.draw(clip, spec, selection.frames_on_page(clip))
            with player_place:
                frames = selection.frames_as_chosen(clip, frame_choice)
        except LensError as error:
            show_error(error)
        if frames is not None:
            attachments = () if is_shown_already(frames.attachment) else (frames.attachment,)
            with player_place:
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
        selection.draw_uploader(expanded=False)


def store_current_frames() -> None:
    if frames is None or not attachments:
        return
    workspace().refuse_if_full(sum(len(png) for png in frames.pngs.values()))
    if conversation:
        hide_earlier_frames(store, conversation)
    store_frames(store, frames.pngs)


if question:
    if spent is None or not spent.fits:
        why = "Choose fewer frames first." if spent else "No frames can be read from this clip."
        box.give_back("video", question, why)
        st.rerun()
    elif not transcript.ask("video", choice, question, attachments, store_current_frames):
        st.rerun()  # what was not sent is drawn above
with chat_side:
    transcript.draw("video", choice)

"""Chat about a clip: the frames the model is shown, their cost, and the questions."""

from functools import partial

import streamlit as st

from smolvlm_core.conversations import context
from smolvlm_core.conversations.attachments import store_frames
from smolvlm_core.conversations.clip_frames import SampledFrames
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment, active_turns
from ui import state
from ui.chat import ask_bar, box, gauge, media, sidebar, start, starters, transcript, unsent
from ui.clip import controls, layout, selection
from ui.state import session, workspace
from ui.text import show_error
from ui.timeline import switch, view

media.open_their_page("video")
store = workspace().store
choice = sidebar.draw("video")
spec, system_prompt = choice.backend.spec, choice.settings.system_prompt
conversation = state.conversation("video")
clip = selection.current(conversation)
only_frames = clip is None and selection.is_missing(conversation)
turns = active_turns(store.messages(conversation)) if conversation else []
st.title("Video chat")
sidebar.warn_if_blind(choice)
if switch.draw():
    view.draw(clip, choice)
    st.stop()
if only_frames:
    selection.draw_missing()
state.show_notices()
bar = ask_bar.draw("video")
question = box.draw("video", "Ask about the clip", disabled=clip is None and not only_frames)
question = unsent.draw("video") or question or start.chosen_question("video") or ""
frames: SampledFrames | None = None
spent: context.Cost | None = None
attachments: tuple[Attachment, ...] = ()


def is_shown_already(attachment: Attachment) -> bool:
    return any(a.shown and a.frames == attachment.frames for q, _ in turns for a in q.attachments)


def draw_advice() -> None:
    """How many frames are possible: more than are chosen, or fewer where those do not fit."""
    if clip is None or frames is None or spent is None:
        return
    attachment, by_hand = frames.attachment, frames.attachment.strategy == "hand"
    most = context.most_frames(store, spec, conversation, attachment, system_prompt, controls.max_frames(clip))
    most = min(most, max(1, clip.facts.frame_count))
    if not spent.fits:
        label = f"Use {most} frames{', evenly spaced' if by_hand else ''}"
        st.button(label, type="primary", on_click=controls.set_count, args=(clip, most))
    elif most > len(attachment.frames) and not by_hand:
        controls.draw_maximum(clip, most)


if clip is None and not only_frames:
    with st.container():
        start.draw("video", choice)
    chat_side = st.container()
elif clip is None:
    chat_side = st.container()
    spent = context.of_next_question(store, spec, conversation, (), system_prompt, memory_of=choice.memory_of)
else:
    st.empty()  # in the place of the start, which is gone at once
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


def store_current_frames() -> None:
    if frames is None or not attachments:
        return
    workspace().refuse_if_full(sum(len(png) for png in frames.pngs.values()))
    store_frames(store, frames.pngs)


if question:
    session().media_notes = ()
    if spent is None or not spent.fits:
        why = "Choose fewer frames first." if spent else "No frames can be read from this clip."
        box.give_back("video", question, why)
        st.rerun()
    elif not transcript.ask("video", choice, question, attachments, store_current_frames):
        st.rerun()  # what was not sent is drawn above
    elif conversation is None:
        st.rerun()  # the sidebar lists it, and the page stays at its end while it is answered
asked = state.conversation("video")
bar.fill(
    draw_cost=partial(gauge.draw, "video", choice, attachments, spent, draw_advice, drop_clips=bool(attachments))
    if spent is not None
    else None,
    questions=starters.on_clip(spec, clip.name) if clip and not asked else (),
)
with chat_side:
    transcript.draw("video", choice)

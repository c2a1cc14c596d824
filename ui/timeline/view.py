"""The parts of the Timeline view, in their order: the player with the moments below it, and beside them the timeline and what is
made of it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from smolvlm_core.conversations.clip_frames import StoredClip
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.video import ClipFacts
from ui import gallery, state
from ui.chat import media
from ui.chat.choice import Choice
from ui.clip import controls, layout, player
from ui.state import session, workspace
from ui.text import escape
from ui.timeline import differences, export, form, given, live, moments, picker, search, summary

STYLE = Path(__file__).with_name("view.css")


def draw(clip: StoredClip | None, choice: Choice) -> None:
    """`clip`: the one that is open on the page, if any."""
    st.html(STYLE)
    timeline = picker.shown(clip)
    state.show_notices()
    media.draw_notes()
    clip = session().clip  # a timeline that the address names brings its own
    if clip is None and timeline is None:
        search.draw()
        live.draw_running_elsewhere(None)
        _draw_start()
        return
    side, main = layout.draw_beside()
    with side:
        _draw_clip(clip, timeline)
        if clip is not None:
            moments.draw(clip, choice)
    with main:
        search.draw()
        live.draw_running_elsewhere(timeline)
        picker.draw(timeline, clip)
        if timeline is not None:
            given.draw_if_asked(timeline)
            live.draw(timeline)
            summary.draw(timeline, choice)
            differences.draw(timeline)
            export.draw(timeline)
        elif clip is not None:
            form.draw(clip, choice)


def _draw_start() -> None:
    st.markdown("See what happens in a clip, part by part. Search it, ask about every part, correct and export it.")
    media.draw_zone()
    with st.container(horizontal=True, vertical_alignment="center", key="samples"):
        for path in gallery.clips():
            st.image(gallery.poster(path), width=120, alt=f"Sample {path.stem}")
            st.button(
                f"Open the sample {escape(path.name)}",
                key=f"timeline_{path.stem}",
                on_click=media.use_sample,
                args=(path,),
            )
    search.draw_all()


def _draw_clip(clip: StoredClip | None, timeline: Timeline | None) -> None:
    if clip is not None:
        controls.draw_facts(clip, None)
        _draw_player(clip.sha256, clip.facts)
        return
    if timeline is None:
        return
    facts, path = timeline.clip.facts, workspace().timelines.path_of(timeline)
    st.caption(f"**{escape(timeline.title)}**  \n{escape(facts.describe()) if facts is not None else ''}")
    if (
        timeline.kind == "clip" and facts is not None and path is not None
    ):  # made on the command line: the clip is where it was
        _draw_player(timeline.clip.sha256, facts)
    elif timeline.kind == "clip":
        st.info("The file of this clip is gone. What was said about it is still here.", icon=":material/movie_off:")
    else:
        st.info(
            "This is a live session: its frames and answers are here. There is no clip to play at its times.",
            icon=":material/videocam:",
        )


def _draw_player(sha256: str, facts: ClipFacts) -> None:
    with st.container(key="timeline_player"):
        player.draw(sha256, facts, (), seek=session().timeline.due(sha256)[0])

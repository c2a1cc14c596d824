"""Which timeline of a clip is shown: one that was made, or the form for a new one. Opens them from elsewhere, and deletes them."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from smolvlm_core.conversations.clip_frames import StoredClip
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import Timeline
from ui import address, state
from ui.state import session, workspace
from ui.text import escape
from ui.timeline.session import NEW

STOP_SECONDS = 10.0  # an answer that is being computed ends within
CUTS = {"scenes": "scene changes", "fixed": "intervals"}


def open_timeline(timeline: Timeline, seconds: float | None = None, segment: int | None = None) -> None:
    """From the next run of the page, with its clip where that is still there. `seconds`: where the player goes, `segment`: what
    the list shows."""
    current = session()
    if current.clip is None or current.clip.sha256 != timeline.clip.sha256:
        state.open_conversation("video", None)
        current.clip = _stored_clip(timeline)
    current.timeline.shown, current.timeline.open = True, timeline.identity
    if seconds is not None:
        current.timeline.go_to(timeline.clip.sha256, seconds, segment)


def shown(clip: StoredClip | None) -> Timeline | None:
    """The timeline to show beside the clip of the page; None for the form. Where another one is named, its clip opens."""
    page, timelines = session().timeline, workspace().timelines
    before = page.open
    page.open = address.follow(address.TIMELINE, page.open or None) or page.open
    found = timelines.find(page.open) if page.open else None
    if found is None and page.open:
        page.open = None
        state.notify("This timeline was deleted, or it is not yours.")
    if found is not None and clip is not None and clip.sha256 != found.clip.sha256:
        if found.identity == before:
            page.open = found = None  # another clip was added
        else:
            session().clip = clip = _stored_clip(found)  # the address names another timeline: Back or Forward
    if found is not None and clip is None and (found.identity != before or session().clip is None):
        session().clip = _stored_clip(found)
    if found is None and page.open is None and clip is not None:
        found = next(iter(timelines.of_clip(clip.sha256)), None)
        page.open = found.identity if found is not None else NEW
    address.show(address.TIMELINE, page.open or None)
    return found


def draw(timeline: Timeline | None, clip: StoredClip | None) -> None:
    """The choice, where there is one, and a menu."""
    sha256 = timeline.clip.sha256 if timeline is not None else clip.sha256 if clip is not None else ""
    found = workspace().timelines.of_clip(sha256) if sha256 else [timeline] if timeline is not None else []
    if timeline is not None and all(one.identity != timeline.identity for one in found):
        found = [timeline, *found]  # a live session with this clip
    known = {one.identity: one for one in found}
    if not known:
        return
    choices = [*known, *([NEW] if clip is not None else [])]
    st.session_state["timeline_open"] = timeline.identity if timeline is not None else NEW
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", wrap=False):
        st.selectbox(
            "Timeline",
            choices,
            key="timeline_open",
            format_func=lambda identity: label(known.get(identity)),
            on_change=_chosen,
            width="stretch",
        )
        if timeline is not None:
            menu = st.popover("About", help="How it was made, and Delete", key="timeline_menu", on_change="rerun")
            if menu.open:
                with menu:
                    _menu(timeline)


def _chosen() -> None:
    session().timeline.open = st.session_state["timeline_open"]


def label(timeline: Timeline | None) -> str:
    if timeline is None:
        return "New timeline"
    when = f"{datetime.fromtimestamp(timeline.created):%Y-%m-%d %H:%M}"  # what differs comes first: the end may be cut
    if timeline.kind == "live":
        return f"Live session · {when}"
    cut = timeline.request.cut
    return f"{when} · {CUTS[cut.mode]}, {cut.seconds:g} s · {timeline.model or timeline.request.entry}"


def _menu(timeline: Timeline) -> None:
    request, page = timeline.request, session().timeline
    cut = request.cut
    facts = [
        f"Asked of each segment: {request.prompt}",
        *([] if timeline.kind == "live" else [f"{cut.frames} frames of each segment, {cut.budget:,} in all at most"]),
        *timeline.notes,
    ]
    st.markdown("\n".join(f"- {escape(fact)}" for fact in facts))
    if page.deleting == timeline.identity:
        st.warning(
            "This deletes the timeline with its captions, edits and notes for good. "
            "The clip is deleted too, unless a conversation or another timeline uses it."
        )
        with st.container(horizontal=True, gap="xsmall"):
            st.button("Delete it", key="timeline_sure", icon=":material/delete:", on_click=_delete, args=(timeline,))
            st.button("Cancel", key="timeline_keep", on_click=_confirm, args=(None,))
    else:
        st.button(
            "Delete…", key="timeline_delete", icon=":material/delete:", on_click=_confirm, args=(timeline.identity,)
        )


def _confirm(identity: str | None) -> None:
    session().timeline.deleting = identity


def _delete(timeline: Timeline) -> None:
    page, timelines = session().timeline, workspace().timelines
    page.deleting = None
    try:
        if (run := timelines.run_of(timeline)) is not None and run.is_running:
            run.stop()
            run.job.wait(STOP_SECONDS)
        if timeline.kind == "live":
            workspace().live.delete(timeline.identity)
        else:
            timelines.delete(timeline.identity)
    except LensError as error:
        state.notify(error)
        return
    page.open = None


def _stored_clip(timeline: Timeline) -> StoredClip | None:
    """The clip of a timeline, where its file is in the data folder."""
    clip = timeline.clip
    if clip.facts is None or not workspace().store.media.path(clip.sha256).is_file():
        return None
    return StoredClip(clip.sha256, clip.name, clip.facts)

"""The timeline that is shown: how far it is, Stop or Go on, and its segments. Updates itself only while it is being made."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import Segment, Timeline
from smolvlm_core.timeline.run import Run
from ui.state import session, workspace
from ui.text import escape, message, show_error
from ui.timeline import picker, questions, rows, segments

POLL_SECONDS = 1.0


def draw(timeline: Timeline) -> None:
    polled = _is_running(timeline)
    st.fragment(_follow, run_every=POLL_SECONDS if polled else None)(timeline.identity, polled)


def draw_running_elsewhere(timeline: Timeline | None) -> None:
    """Another timeline than the one that is shown: one is made at a time."""
    shown = timeline.identity if timeline is not None else ""
    polled = _running_elsewhere(shown)
    if polled is not None:
        st.fragment(_follow_elsewhere, run_every=POLL_SECONDS)(shown, polled.timeline.identity)


def _running_elsewhere(shown: str) -> Run | None:
    run = workspace().timelines.running
    return run if run is not None and run.timeline.identity != shown else None


def _follow_elsewhere(shown: str, identity: str) -> None:
    run = _running_elsewhere(shown)
    if run is None or run.timeline.identity != identity:
        st.rerun()  # the page's buttons are free again
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f":material/hourglass_top: The timeline of {escape(run.timeline.title)} is being made.", width="content"
        )
        st.button("Show", key="timeline_show", type="tertiary", on_click=picker.open_timeline, args=(run.timeline,))


def _is_running(timeline: Timeline) -> bool:
    run = workspace().timelines.run_of(timeline)
    return run is not None and run.is_running


def _follow(identity: str, polled: bool) -> None:
    timeline = workspace().timelines.find(identity)
    if timeline is None:
        st.info("This timeline was deleted in another tab.")
        return
    running, changed = _is_running(timeline), session().timeline.changed
    session().timeline.changed = False
    if changed or running != polled or session().timeline.given is not None:
        st.rerun()  # begins or ends the polling, opens what the model was given, or draws what is made of the words
    run, found = workspace().timelines.run_of(timeline), workspace().timelines.segments(identity)
    if running and run is not None:
        _draw_running(run)
    else:
        _draw_ended(timeline, run, found)
    questions.draw(timeline, running=running)
    if found:
        segments.draw(timeline, found, running=running)


def _draw_running(run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.progress(run.job.fraction or 0.0, text=message(run.describe()), width="stretch")
        if run.was_stopped:
            st.caption(":material/hourglass_top: Stopping…", width="content")
        else:
            st.button("Stop", icon=":material/stop:", key="timeline_stop", on_click=run.stop)


def _draw_ended(timeline: Timeline, run: Run | None, found: list[Segment]) -> None:
    if run is not None and run.problem is not None:
        show_error(run.problem)
    left, failed = rows.unanswered(found, tuple(timeline.columns))
    if timeline.kind == "live" or (found and not left and not failed):
        return
    label = f"Ask again about {failed:,} that failed" if failed and not left else "Go on"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(label, icon=":material/play_arrow:", key="timeline_go_on", on_click=_go_on, args=(timeline,))
        if left:
            st.caption(f"{left:,} answers are not there yet." if left > 1 else "One answer is not there yet.")


def _go_on(timeline: Timeline) -> None:
    try:
        workspace().timelines.go_on(timeline)
    except LensError as error:
        session().timeline.problem = str(error)

"""A session while it runs and after: the picture, what is asked, the answers as they come, and the alerts."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.live.log import MAX_BYTES, MAX_ENTRIES
from smolvlm_core.live.records import EDGES, LiveRequest
from smolvlm_core.live.session import IDLE_MINUTES, KEPT_ENTRIES, SILENT_SECONDS, LiveSession
from smolvlm_core.live.sources import CameraSource
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.times import duration_text
from ui.live import camera, entries
from ui.state import session, workspace
from ui.text import escape, message, show_error

POLL_SECONDS = 0.5
SHOWN_ENTRIES, SHOWN_EVENTS = 40, 40  # of those in memory


def shown() -> LiveSession | None:
    """The session that runs, or the one that ended while this tab looked on."""
    current = workspace().live.current
    if current is None or current.is_running or session().live.seen[0] == current.identity:
        return current
    return None


def _put_away() -> None:
    session().live.seen = ("", 0)


def draw(live: LiveSession) -> None:
    polled = live.is_running
    left, right = st.columns([5, 6], gap="large")
    with left:
        _draw_camera(live)
        st.fragment(_draw_state, run_every=POLL_SECONDS if polled else None)(live, polled)
    with right:
        st.fragment(_draw_answers, run_every=POLL_SECONDS if polled else None)(live)


def _draw_camera(live: LiveSession) -> None:
    """Outside of what is drawn again and again."""
    source, page = live.source, session().live
    if not live.is_running:
        return
    if isinstance(source, CameraSource) and page.token == source.token:
        camera.draw(source.token, EDGES[live.request.detail])
        return
    camera.draw_newest()
    if isinstance(source, CameraSource):
        st.caption(":material/videocam: The camera is in another tab, or the page was reloaded.")
        st.button("Use the camera of this tab", key="live_take_over", on_click=_take_over, args=(source,))


def _take_over(source: CameraSource) -> None:
    session().live.token = source.renew_token()


def _draw_state(live: LiveSession, polled: bool) -> None:
    if polled and not live.is_running:
        st.rerun()  # draws the end, and stops the polling
    _toast(live)
    with st.container(horizontal=True, vertical_alignment="center"):
        if live.is_running:
            st.button("Stop", icon=":material/stop:", key="live_stop", disabled=live.is_stopping, on_click=live.stop)
        else:
            st.button("New session", icon=":material/add:", key="live_new", on_click=_put_away)
        st.markdown(message(_state_line(live)), width="stretch")
    _draw_problems(live)
    st.caption(message(_counts(live)))
    st.caption(escape(_settings(live.backend.name, live.request)))
    if live.request.alerts or live.event_count:
        _draw_events(live)


def _state_line(live: LiveSession) -> str:
    if not live.is_running:
        return live.over or "Ended."
    if live.is_stopping:
        return "Stopping…"
    question, text = live.partial
    return f"{live.doing}…" if not question else f"Answering: {text[-160:]}"


def _draw_problems(live: LiveSession) -> None:
    job = live.job
    if job is not None and job.problem is not None:
        show_error(job.problem)
    elif live.problem:
        show_error(live.problem)
    if not live.is_running:
        return
    if live.source.problem:
        st.warning(message(live.source.problem), icon=":material/cloud_off:")
    elif live.silent_seconds > SILENT_SECONDS:
        where = (
            "The camera is off, or the page that sends it is closed." if _is_camera(live) else "The source is silent."
        )
        st.warning(
            message(
                f"No frame for {duration_text(live.silent_seconds)}, so nothing is asked. {where} "
                f"The session ends after {IDLE_MINUTES} minutes without one."
            ),
            icon=":material/videocam_off:",
        )


def _is_camera(live: LiveSession) -> bool:
    return isinstance(live.source, CameraSource)


def _counts(live: LiveSession) -> str:
    """Nothing is left out silently: what became of each frame."""
    parts = [f"{live.frames:,} frames from {live.source.name}", f"{live.asked:,} asked about"]
    parts.append(f"{live.skipped:,} skipped while the model was busy")
    if live.request.change is not None:
        latest = "" if live.latest_changed is None else f" (now {live.latest_changed:.1%} changed)"
        parts.append(f"{live.unchanged:,} changed less than {live.request.change:.1%}{latest}")
    if live.damaged:
        parts.append(f"{live.damaged:,} damaged")
    if live.is_running:
        parts.append(f"running for {duration_text(live.seconds)} of {live.request.minutes} min")
    return " · ".join(parts)


def _settings(name: str, request: LiveRequest) -> str:
    settings = request.settings
    parts = [
        name,
        "one tile a frame" if request.detail == "fast" else "full detail",
        f"at most {settings.max_new_tokens} tokens",
        "greedy" if settings.temperature == 0 else f"temperature {settings.temperature:g}",
    ]
    if settings.system_prompt.strip():
        parts.append("with a system prompt")
    return " · ".join(parts)


def _draw_events(live: LiveSession) -> None:
    events = live.events
    st.markdown(f"**Alerts** · {live.event_count:,}")
    if not events:
        st.caption(message(f"Waiting for: {', '.join(alert.question for alert in live.request.alerts)}"))
        return
    with st.container(height=360 if len(events) > 3 else "content", border=False):
        entries.draw("live_events", "Alerts", [entries.of_event(event) for event in events[:SHOWN_EVENTS]])
    if live.event_count > SHOWN_EVENTS:
        st.caption(f"The newest {SHOWN_EVENTS}. All are stored, and listed with the session once it has ended.")


def _toast(live: LiveSession) -> None:
    """Alerts that this tab has not shown yet: one message each, three at most."""
    page = session().live
    seen = page.seen[1] if page.seen[0] == live.identity else live.event_count
    page.seen = (live.identity, live.event_count)
    for event in reversed(live.events[: min(3, live.event_count - seen)]):
        st.toast(f"**{escape(event.question)}** Yes, {event.yes:.0%}", icon=":material/notifications:", duration="long")


def _draw_answers(live: LiveSession) -> None:
    found = live.entries
    if not found:
        st.caption("The first answer is on its way." if live.is_running else "Nothing was answered.")
        return
    alerts = {alert.question for alert in live.request.alerts}
    with st.container(height=620, border=False, key="live_answers"):
        entries.draw("live_entries", "Answers", [entries.of_entry(entry, alerts) for entry in found[:SHOWN_ENTRIES]])
    size = describe_bytes(live.log.stored_bytes) if live.log.stored_bytes >= 2**20 else "less than 1 MiB"
    st.caption(
        f"The newest {min(len(found), SHOWN_ENTRIES)} of {live.asked:,}. {live.log.entries:,} are stored ({size} of at most "
        f"{MAX_BYTES // 2**20} MiB; {MAX_ENTRIES:,} frames at most); the newest {KEPT_ENTRIES} are in memory."
    )

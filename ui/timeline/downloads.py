"""Files made of a timeline in the background: how far they are, and the link to what is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from smolvlm_core.work.job import Job, Work
from ui.access import current
from ui.clip.route import HEADERS
from ui.state import workspace, workspace_of
from ui.text import escape, message, show_error

PATH = "/timeline-file/{owner}/{name}"
POLL_SECONDS = 0.7


@dataclass(frozen=True)
class Made:
    """`lines`: what is in the file, what is left out."""

    path: Path
    lines: tuple[str, ...] = ()


def send_file(request: Request) -> Response:
    """404 for what this user has not made."""
    user, found = current.user_of_route(request.scope), request.path_params
    path = workspace_of(user).timelines.downloads.find(found["owner"], found["name"]) if user is not None else None
    return FileResponse(path, filename=path.name, headers=HEADERS) if path is not None else Response(status_code=404)


ROUTE = Route(PATH, send_file)


def start(owner: str, work: Work) -> None:
    """`owner`: a timeline's identity, and what is made of it. `work` returns a `Made`."""
    workspace().jobs.start(_name(owner), work)


def following(draw: Callable[[str], None], identity: str, owner: str) -> None:
    """Draws something of a timeline in a fragment, which is drawn again only while a file is being made."""
    running = is_running(owner)

    def once() -> None:
        if running != is_running(owner):
            st.rerun()  # begins or ends the polling
        draw(identity)

    st.fragment(once, run_every=POLL_SECONDS if running else None)()


def is_running(owner: str) -> bool:
    job = workspace().jobs.find(_name(owner))
    return job is not None and not job.done


def draw(owner: str) -> None:
    """What was made last: its progress, its link, or why there is none."""
    job = workspace().jobs.find(_name(owner))
    if job is None:
        return
    if not job.done:
        _draw_running(job, owner)
    elif job.cancel.is_set():
        st.caption("Stopped. No file was made.")
    elif job.problem is not None:
        show_error(job.problem)
    else:
        _draw_made(owner, job.result)


def _draw_running(job: Job, owner: str) -> None:
    st.progress(job.fraction or 0.0, text=message(job.text))
    st.button("Stop", icon=":material/stop:", key=f"stop_{owner}", on_click=job.cancel.set)


def _draw_made(owner: str, made: Made) -> None:
    try:
        size = made.path.stat().st_size
    except OSError:
        st.caption("The file that was made here is gone. Make it again.")
        return
    st.caption("  \n".join(map(message, made.lines)))
    url = PATH.format(owner=owner, name=quote(made.path.name))
    shown = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} KB"
    st.link_button(f"Download {escape(made.path.name)} ({shown})", url, icon=":material/download:", type="primary")


def place(owner: str, name: str, more_bytes: int = 0) -> Path:
    """Where to write a file. Raises StoreError, also where this user has no room for it."""
    workspace().refuse_if_full(more_bytes)
    return workspace().timelines.downloads.place(owner, name)


def _name(owner: str) -> str:
    return f"timeline file {workspace().folder} {owner}"

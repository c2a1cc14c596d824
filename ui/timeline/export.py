"""A timeline as a file: one menu of formats. A file is made only when it is asked for."""

from __future__ import annotations

import tempfile
import threading
from functools import partial
from pathlib import Path

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.timeline import export
from smolvlm_core.timeline.export import Content, Format
from smolvlm_core.timeline.export.stored import content_of
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.work.report import Report
from ui import forms
from ui.state import workspace
from ui.text import escape
from ui.timeline import cut, downloads

FORM = "timeline export"


def draw(timeline: Timeline) -> None:
    """The menu of formats, and the cutter."""
    downloads.following(_draw, timeline.identity, _owner(timeline.identity))
    cut.draw(timeline)


def _owner(identity: str) -> str:
    return f"{identity}-export"


def _draw(identity: str) -> None:
    with st.expander("Export", icon=":material/ios_share:", key="timeline_export", on_change="rerun") as menu:
        timeline = workspace().timelines.find(identity)
        if menu.open and timeline is not None:
            _draw_menu(timeline)


def _draw_menu(timeline: Timeline) -> None:
    key = st.selectbox(
        "Format",
        list(export.FORMATS),
        format_func=lambda key: export.FORMATS[key].label,
        key="timeline_export_format",
        persist_state="session",
    )
    content = content_of(workspace().timelines, timeline)
    chosen = export.fitting(export.FORMATS[key], content)
    st.caption(escape(chosen.about))
    if not content.segments:
        st.caption("There are no segments yet.")
    elif chosen.is_slow:
        _draw_slow(content, chosen)
    else:
        st.download_button(
            "Download",
            partial(_bytes, workspace().timelines, timeline, chosen),
            export.file_name(content, chosen),
            chosen.mime,
            icon=":material/download:",
            key="timeline_export_download",
            on_click="ignore",
        )


def _draw_slow(content: Content, chosen: Format) -> None:
    owner = _owner(content.timeline.identity)
    if not downloads.is_running(owner):
        st.button(
            "Make the file",
            icon=":material/folder_zip:",
            key="timeline_export_make",
            on_click=_make,
            args=(content.timeline, chosen),
        )
    forms.draw_problems(FORM)
    downloads.draw(owner)


def _bytes(timelines: Timelines, timeline: Timeline, chosen: Format) -> bytes:
    """Runs when the button is pressed, on another thread. The file has what is stored then."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        export.write(content_of(timelines, timeline), chosen, path)
        return path.read_bytes()


def _make(timeline: Timeline, chosen: Format) -> None:
    forms.pressed(FORM)
    timelines = workspace().timelines
    try:
        content = content_of(timelines, timeline)
        size = content.clip.stat().st_size if content.clip is not None else 0
        path = downloads.place(_owner(timeline.identity), export.file_name(content, chosen), size)
    except (LensError, OSError) as error:
        forms.refuse(FORM, str(error))
        return

    def work(report: Report, cancel: threading.Event) -> downloads.Made:
        return downloads.Made(path, tuple(export.write(content, chosen, path, report, cancel)))

    downloads.start(_owner(timeline.identity), work)

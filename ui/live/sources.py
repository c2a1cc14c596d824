"""Which source a new session has: the camera of this browser, a clip played as live, or a stream by address."""

from __future__ import annotations

from typing import Any, BinaryIO

import streamlit as st

from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.live.addresses import ALLOWED, allowed_hosts, check_address
from smolvlm_core.live.sources import CameraSource, ClipSource, Source, StreamSource
from smolvlm_core.video import open_clip
from ui import forms, gallery, state, uploaders
from ui.state import session, workspace
from ui.text import message

CAMERA, CLIP, STREAM = "Camera", "Clip", "Stream"
UPLOAD = "live upload"  # the form


def draw() -> None:
    form = session().live.form
    chosen: Any = st.segmented_control(
        "Source", [CAMERA, CLIP, STREAM], default=form.source, required=True, key=f"live_source_{form.round}"
    )
    form.source = chosen
    {CAMERA: _draw_camera, CLIP: _draw_clip, STREAM: _draw_stream}[form.source]()


def make() -> Source:
    """The source that was chosen. Raises LensError where it cannot be used."""
    form = session().live.form
    if form.source == CAMERA:
        return CameraSource()
    if form.source == STREAM:
        if not state.is_admin():
            raise LensError("Only admins of this app can open streams.")
        return StreamSource(check_address(form.address, allowed_hosts()))
    samples = {str(path): path for path in gallery.clips()}
    if form.clip in samples:
        path = samples[form.clip]
        return ClipSource(path, path.name)
    known = _stored()
    if form.clip not in known:
        raise MediaError("No clip is chosen.", "Choose one.")
    return ClipSource(workspace().store.media.path(form.clip), known[form.clip], form.clip)


def _draw_camera() -> None:
    st.caption(
        "The camera of this browser. It asks you first. Frames are sent while this page is open: they go to this app, "
        "and from there to the chosen model only."
    )


def _draw_clip() -> None:
    form, names = session().live.form, _names()
    options = list(names)
    form.clip = (
        st.selectbox(
            "Clip, played at its own speed",
            options,
            options.index(form.clip) if form.clip in options else 0,
            key=f"live_chosen_clip_{form.round}",
            format_func=lambda key: names.get(key, key),
        )
        or ""
    )
    uploaders.draw_clip("live", _take)
    forms.draw_problems(UPLOAD)


def _draw_stream() -> None:
    form, hosts = session().live.form, allowed_hosts()
    if not hosts or not state.is_admin():
        st.info(
            "Streams by address are off: the app would contact any address that someone types, in your home network too. "
            f"Whoever starts the app can allow cameras by their hosts: `{ALLOWED}=192.168.1.20`. "
            "On a shared app, only admins can open them.",
            icon=":material/lock:",
        )
        return
    form.address = st.text_input(
        "Address",
        form.address,
        key=f"live_address_{form.round}",
        placeholder="rtsp://192.168.1.20:554/stream",
        help=message(f"RTSP or HTTP. Allowed hosts: {', '.join(sorted(hosts))}. A password in it is not stored."),
    ).strip()


def _names() -> dict[str, str]:
    """The clips to choose from: by path or SHA-256, with their names."""
    return {str(path): f"{path.name} (sample)" for path in gallery.clips()} | _stored()


def _stored() -> dict[str, str]:
    clip = session().clip
    opened = {clip.sha256: clip.name} if clip is not None else {}
    return session().live.form.uploaded | opened


def _take(file: BinaryIO, name: str) -> None:
    form, store, sha256 = session().live.form, workspace().store, ""
    forms.pressed(UPLOAD)
    try:
        workspace().refuse_if_full(uploaders.size_bytes(file))
        sha256 = store.media.add_file(file, name, "video/mp4")
        open_clip(store.media.path(sha256)).close()
    except LensError as error:
        forms.refuse(UPLOAD, error)
        if sha256:
            store.discard({sha256})
        return
    form.uploaded[sha256] = name
    form.clip = sha256
    form.round += 1

"""The player of the video page with the strip of frames below it. One component, since each moves the other."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import streamlit as st

from smolvlm_core import media
from smolvlm_core.video import ClipFacts, Frame
from ui.clip.route import url_of
from ui.pictures import script
from ui.pictures.shown import Shown

THUMBNAIL_EDGE = 192  # px: nearly twice the width on the page, for sharp screens
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"player.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("clip_player", html=_html, css=_css, js=_js)


def draw(
    sha256: str,
    facts: ClipFacts,
    frames: Sequence[tuple[Frame, Shown]],
    *,
    on_add: Callable[[float], None] | None = None,
    on_remove: Callable[[int], None] | None = None,
    seek: tuple[float, int] = (0.0, 0),
) -> None:
    """`frames`: each with the picture that the viewer opens; none for a player without a strip.

    The callbacks get the player's time in seconds, and a frame's index. `seek`: a time in seconds to go to, once for each number
    above 0.

    On the page's document, the player follows the event `lens-seek` and sends `lens-time`, both with `detail: {seconds}`. On `lens-where` it
    sends its time again.
    """
    key = f"player_{sha256}"

    def value_of(name: str) -> Any:
        return st.session_state[key][name]

    _component(
        key=key,
        data={
            "url": url_of(sha256),
            "viewer": script.url(),
            "start": facts.start_seconds,
            "nudge": min(0.01, 0.25 / facts.fps),
            "seek": {"seconds": seek[0], "number": seek[1]},
            "frames": [
                {
                    "time": frame.timestamp_seconds,
                    "index": frame.frame_index,
                    "decoder": frame.decoder,
                    "picture": _data_url(frame),
                    "whole": picture.data(),
                }
                for frame, picture in frames
            ],
        },
        on_add_change=lambda: on_add(value_of("add")) if on_add else None,
        on_remove_change=lambda: on_remove(value_of("remove")) if on_remove else None,
    )


_data_urls: WeakKeyDictionary[Frame, str] = WeakKeyDictionary()


def _data_url(frame: Frame) -> str:
    """Encoded once for each frame: the page is drawn again with every click."""
    if frame not in _data_urls:
        jpeg = media.jpeg_bytes(media.thumbnail(frame.image, THUMBNAIL_EDGE))
        _data_urls[frame] = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return _data_urls[frame]

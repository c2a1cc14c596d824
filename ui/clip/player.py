"""The player of the video page with the strip of frames below it: one component, since each moves the other."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import streamlit as st

from smolvlm_core import media
from smolvlm_core.video import ClipFacts, Frame
from ui.clip.route import url_of

_HTML = """
<video controls muted playsinline preload="metadata"></video>
<p class="unplayable" hidden>This browser cannot play this clip. Its frames are read all the same.</p>
<div class="row">
  <button class="add" type="button">Add the frame at <span class="now">0.00 s</span></button>
</div>
<ol class="strip" aria-label="Frames the model is shown"></ol>
"""
_CSS = """
:host, div { font-family: var(--st-font); color: var(--st-text-color); }
video { width: 100%; max-height: 45vh; background: #000; border-radius: var(--st-base-radius); display: block; }
.unplayable { font-size: 0.875rem; margin: 0.5rem 0 0; }
.row { display: flex; flex-wrap: wrap; gap: 0.5rem; margin: 0.5rem 0; }
button { font: inherit; color: inherit; cursor: pointer; }
.row button { padding: 0.25rem 0.75rem; font-size: 0.875rem; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius); }
.row button:hover, .row button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
.strip { display: flex; flex-wrap: wrap; gap: 0.5rem; list-style: none; margin: 0; padding: 0; }
.strip li { position: relative; width: 104px; }
.go { display: block; width: 100%; padding: 0; border: 2px solid transparent; border-radius: 6px; background: none; }
.go img { display: block; width: 100%; border-radius: 4px; }
.go:hover, .go:focus-visible, .shown .go { border-color: var(--st-primary-color); }
.go span { display: block; font-size: 0.75rem; opacity: 0.75; text-align: left; padding: 2px 0; }
.out { position: absolute; top: 4px; right: 4px; width: 24px; height: 24px; padding: 0; border: 0; border-radius: 50%;
  background: rgba(0, 0, 0, 0.6); color: #fff; line-height: 24px; font-size: 14px; }
.out:hover, .out:focus-visible { background: #b3261e; }
"""
# `start`: where the first frame stands on the player's own clock. A player that is set exactly to a frame's time may show
# the one before it, hence the nudge.
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const find = (name) => parentElement.querySelector(name);
  const video = find("video"), now = find(".now"), strip = find(".strip");
  if (video.getAttribute("src") !== data.url) video.src = data.url;
  video.onerror = () => { find(".unplayable").hidden = false; find(".add").hidden = true; };
  video.onloadedmetadata = () => { find(".unplayable").hidden = true; find(".add").hidden = false; };
  // 75.5 → "1:15.50": as the player's own clock counts.
  const clock = (seconds) => {
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    const rest = (seconds % 60).toFixed(2);
    if (seconds < 60) return rest + " s";
    return (hours ? hours + ":" + String(minutes).padStart(2, "0") : minutes) + ":" + rest.padStart(5, "0");
  };
  const at = () => Math.max(0, video.currentTime - data.start);
  const tell = () => {
    now.textContent = clock(at());
    let shown = null;
    for (const item of strip.children) {
      item.classList.remove("shown");
      if (Number(item.dataset.time) <= at() + data.nudge) shown = item;
    }
    if (shown) shown.classList.add("shown");
  };
  video.ontimeupdate = video.onseeked = tell;
  find(".add").onclick = () => setTriggerValue("add", at());
  strip.replaceChildren(...data.frames.map((frame) => {
    const item = document.createElement("li"), go = document.createElement("button"), out = document.createElement("button");
    const image = document.createElement("img"), label = document.createElement("span");
    item.dataset.time = frame.time;
    go.className = "go"; go.type = out.type = "button"; out.className = "out"; out.textContent = "✕";
    go.title = `Frame ${frame.index} at ${frame.time.toFixed(3)} s, read with ${frame.decoder}: show it in the player`;
    out.title = out.ariaLabel = `Leave out frame ${frame.index}`;
    image.src = frame.picture; image.alt = `Frame ${frame.index}`;
    label.textContent = `${clock(frame.time)} · #${frame.index}`;
    go.append(image, label);
    go.onclick = () => { video.pause(); video.currentTime = data.start + frame.time + data.nudge; };
    out.onclick = () => setTriggerValue("remove", frame.index);
    item.append(go);
    if (data.frames.length > 1) item.append(out);
    return item;
  }));
  tell();
}
"""
THUMBNAIL_EDGE = 192  # px: nearly twice the width on the page, for sharp screens
_component = st.components.v2.component("clip_player", html=_HTML, css=_CSS, js=_JS)


def draw(
    sha256: str,
    facts: ClipFacts,
    frames: Sequence[Frame],
    *,
    on_add: Callable[[float], None],
    on_remove: Callable[[int], None],
) -> None:
    """The callbacks get the player's time in seconds, and a frame's index."""
    key = f"player_{sha256}"

    def told(name: str) -> Any:
        return st.session_state[key][name]

    _component(
        key=key,
        data={
            "url": url_of(sha256),
            "start": facts.start_seconds,
            "nudge": min(0.01, 0.25 / facts.fps),
            "frames": [
                {
                    "time": frame.timestamp_seconds,
                    "index": frame.frame_index,
                    "decoder": frame.decoder,
                    "picture": _data_url(frame),
                }
                for frame in frames
            ],
        },
        on_add_change=lambda: on_add(told("add")),
        on_remove_change=lambda: on_remove(told("remove")),
    )


_data_urls: WeakKeyDictionary[Frame, str] = WeakKeyDictionary()


def _data_url(frame: Frame) -> str:
    """Made once a frame: the page is drawn again with every click."""
    if frame not in _data_urls:
        jpeg = media.jpeg_bytes(media.thumbnail(frame.image, THUMBNAIL_EDGE))
        _data_urls[frame] = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return _data_urls[frame]

"""The picture on the page: the camera of the browser, whose frames go to the session, or the newest frame of a clip or stream."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui.live.route import NEWEST, url_of

INTERVAL_MS = 200  # from one frame to the next, at least
NEWEST_INTERVAL_MS = 400
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"camera.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("live_camera", html=_html, css=_css, js=_js)
_newest = st.components.v2.component(
    "live_newest",
    html='<img hidden alt="The newest frame of the source"><p>The first frame is on its way.</p>',
    css="""img { display: block; width: 100%; max-height: 52vh; object-fit: contain; background: #000; border-radius: var(--st-base-radius); }
img[hidden] { display: none; } p { font-family: var(--st-font); font-size: 0.875rem; margin: 0; }""",
    js=(_FOLDER / "newest.js").read_text(encoding="utf-8"),
)


def draw_newest() -> None:
    """Of a source that is not the camera of this tab."""
    _newest(key="live_newest", data={"url": NEWEST, "interval": NEWEST_INTERVAL_MS})


def draw(token: str, edge: int) -> None:
    """Asks the browser for its camera, and sends frames until this is not drawn any more. `edge`: their longer side in px."""
    _component(key="live_camera", data={"url": url_of(token), "edge": edge, "interval": INTERVAL_MS})

"""The camera of the browser: its picture, and its frames on their way to the session."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui.live.route import url_of

INTERVAL_MS = 200  # from one frame to the next, at least
_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"camera.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("live_camera", html=_html, css=_css, js=_js)


def draw(token: str, edge: int) -> None:
    """Asks the browser for its camera, and sends frames until this is not drawn any more. `edge`: their longer side in px."""
    _component(key="live_camera", data={"url": url_of(token), "edge": edge, "interval": INTERVAL_MS})

"""Adding files from anywhere on a page: a button, drop and paste. The files go into an uploader of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent
_html, _css, _js = ((_FOLDER / f"drop.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_component = st.components.v2.component("drop_files", html=_html, css=_css, js=_js)


def draw(
    uploader: str, kinds: Sequence[tuple[Sequence[str], int]], refuse: Callable[[list[dict[str, Any]]], None]
) -> None:
    """A small button, and what listens on the page.

    `uploader`: key of the container with the uploader. `kinds`: extensions and largest size in bytes of each kind of file; the
    first that has an extension counts. `refuse` gets {"name", "bytes", "reason"} of each file that is not accepted; the reason is "type" or "size".
    """
    key = f"drop_{uploader}"
    _component(
        key=key,
        data={
            "input": f".st-key-{uploader} input[type=file]",
            "kinds": [{"extensions": list(extensions), "bytes": most} for extensions, most in kinds],
            "label": "Add pictures or a clip",
            "overlay": "Drop pictures or a clip to add them",
        },
        width=40,
        on_refused_change=lambda: refuse(st.session_state[key]["refused"] or []),
    )


def draw_zone(uploader: str, lines: tuple[str, str]) -> None:
    """A large button that opens the same file dialog. `lines`: what to do, and what is accepted."""
    _component(key=f"zone_{uploader}", data={"input": f".st-key-{uploader} input[type=file]", "zone": list(lines)})

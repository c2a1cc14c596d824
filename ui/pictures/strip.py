"""A strip of thumbnails. A click opens the viewer, in which a part of a picture can be chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.conversations.pictures import Region
from ui.pictures.shown import Shown

EDGE = 104  # px: the longer side of a thumbnail
_FOLDER = Path(__file__).parent
OnPart = Callable[[Shown, Region], None]


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def viewer_script() -> str:
    """JavaScript to put before another component's own: it defines `openPictures`, which viewer.js describes."""
    constants = {"VIEWER_HTML": _read("viewer.html"), "VIEWER_CSS": _read("viewer.css")}
    lines = [f"const {name} = {json.dumps(text)};" for name, text in constants.items()]
    return "\n".join([*lines, _read("part.js"), _read("viewer.js")])


_component = st.components.v2.component(
    "pictures", html='<ul class="strip"></ul>', css=_read("strip.css"), js=viewer_script() + _read("strip.js")
)


def draw(
    key: str,
    pictures: Sequence[Shown],
    *,
    only: int | None = None,
    edge: int = EDGE,
    scrolls: bool = False,
    reveal: bool = False,
    on_part: OnPart | None = None,
    part_label: str = "Use this part",
) -> bool:
    """Thumbnails, each of which opens the viewer. Its *next* and *previous* go through all of `pictures`.

    `key`: of the widget. `only`: the index of the one that is drawn here; the others are drawn elsewhere. `edge`: the longer side of a
    thumbnail in px. `scrolls`: in one row that scrolls, else rows wrap. `reveal`: the page scrolls to it once. `on_part`: a callback
    that gets a part that someone chose.

    Returns:
        Whether a part was chosen in the run before this one.
    """

    def chosen() -> None:
        value: Any = st.session_state[key]["part"]
        found = next((picture for picture in pictures if picture.key == value["key"]), None)
        if on_part is not None and found is not None:
            on_part(found, Region(*(int(value[name]) for name in ("left", "top", "width", "height"))))

    result = _component(
        key=key,
        data={
            "pictures": [picture.data() for picture in pictures],
            "only": only,
            "edge": edge,
            "scrolls": scrolls,
            "reveal": reveal,
            "part": part_label if on_part is not None else "",
        },
        on_part_change=chosen,
    )
    return result["part"] is not None

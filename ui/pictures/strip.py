"""A strip of thumbnails. A click opens the viewer, in which a part of a picture can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from smolvlm_core.conversations.pictures import Region
from ui.pictures import script
from ui.pictures.shown import Shown

EDGE = 104  # px: the longer side of a thumbnail
OnPart = Callable[[Shown, Region], None]
_component = st.components.v2.component(
    "pictures", html='<ul class="strip"></ul>', css=script.read("strip.css"), js=script.read("strip.js")
)


def draw(
    key: str,
    pictures: Sequence[Shown],
    *,
    only: int | None = None,
    edge: int = EDGE,
    scrolls: bool = False,
    captions: bool = True,
    reveal: bool = False,
    on_part: OnPart | None = None,
    part_label: str = "Use this part",
) -> bool:
    """Thumbnails, each of which opens the viewer. Its *next* and *previous* go through all of `pictures`.

    `key`: of the widget. `only`: the index of the one that is drawn here; the others are drawn elsewhere. `edge`: the longer side of a
    thumbnail in px. `scrolls`: in one row that scrolls, else rows wrap. `captions`: labels below. `reveal`: the page scrolls to it
    once. `on_part`: a callback that gets a part that someone chose.

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
            "viewer": script.url(),
            "edge": edge,
            "scrolls": scrolls,
            "captions": captions,
            "reveal": reveal,
            "part": part_label if on_part is not None else "",
        },
        on_part_change=chosen,
    )
    return result["part"] is not None

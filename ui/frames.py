"""A strip of pictures with their times, wrapping where the page is narrow."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from PIL import Image

from smolvlm_core.media import thumbnail


def draw_frames(frames: Sequence[tuple[float | str, Image.Image]]) -> None:
    """Each with its time in seconds, or a label."""
    with st.container(horizontal=True, gap="small"):
        for mark, image in frames:
            with st.container(width=112, gap=None):
                st.image(thumbnail(image, 224), width=104)
                st.caption(f"{mark:.2f} s" if isinstance(mark, float | int) else mark.replace("_", "\\_"))

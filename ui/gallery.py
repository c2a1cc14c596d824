"""Samples that the bundled model can read, drawn by the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from smolvlm_core.paths import GALLERY

SIDE = 104  # px; reserved from the start, so that no button moves under the pointer when its picture arrives


def draw_images(use: Callable[[Path], None]) -> None:
    pictures = sorted(GALLERY.glob("*.png"))
    with st.container(horizontal=True, gap="small"):
        for path in pictures:
            with st.container(width=112, gap="small"):
                with st.container(height=SIDE, border=False):
                    st.image(str(path), width=SIDE)
                st.button("Use", key=f"sample_{path.stem}", width=SIDE, on_click=use, args=(path,))


def clips() -> list[Path]:
    return sorted(GALLERY.glob("*.mp4"))

"""A strip of pictures with their times, which wraps where the page is narrow."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from PIL import Image

from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.conversations.store import Store
from smolvlm_core.media import decoded_bytes, thumbnail
from ui.text import escape

SMALL_EDGE = 320  # px: twice the width on the page, for sharp screens
_small = ByteCache(64 * 2**20, decoded_bytes)


def draw_frames(frames: Sequence[tuple[float | str, Image.Image]]) -> None:
    """Each with its time in seconds, or a label."""
    with st.container(horizontal=True, gap="small"):
        for mark, image in frames:
            with st.container(width=112, gap=None):
                st.image(thumbnail(image, SMALL_EDGE), width=104)
                st.caption(f"{mark:.2f} s" if isinstance(mark, float | int) else escape(mark))


def small_picture(store: Store, sha256: str) -> Image.Image:
    """A thumbnail of a stored picture: pages draw it on every rerun. Raises StoreError or MediaError."""
    return _small.get((store.folder, sha256), lambda: thumbnail(store.media.picture(sha256), SMALL_EDGE))

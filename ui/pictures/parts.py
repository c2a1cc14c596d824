"""A part of a picture, which becomes a new picture that waits for the next question of the image chat."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from smolvlm_core.conversations import pictures
from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.conversations.pictures import Region
from smolvlm_core.errors import LensError
from ui import navigation, state
from ui.pictures import strip
from ui.pictures.shown import Shown
from ui.state import session, workspace
from ui.text import escape

NEW = "new_part"  # in the session's state: the part that its page has to point out


def draw(
    key: str,
    shown: Sequence[Shown],
    *,
    leaves: bool = False,
    only: int | None = None,
    edge: int = strip.EDGE,
    scrolls: bool = False,
) -> None:
    """`strip.draw` of stored pictures, whose parts can be asked about. `leaves`: on another page than the image chat, which then opens."""
    label = "Ask about this part in Image chat" if leaves else "Ask about this part"
    new = only is not None and st.session_state.get(NEW) == shown[only].key
    if new:
        del st.session_state[NEW]
        st.toast(f"{escape(shown[only or 0].label)} goes with your next question.", icon=":material/crop:")
    used = strip.draw(key, shown, only=only, edge=edge, scrolls=scrolls, reveal=new, on_part=use, part_label=label)
    if used and leaves and not session().notices:
        navigation.open_chat("image")


def use(picture: Shown, region: Region) -> None:
    """Crop a stored picture, store the part, and let it wait for the next question. Says so, or why not."""
    store = workspace().store
    try:
        part, name = pictures.crop(store.media.bytes(picture.key), picture.name or picture.label, region)
        workspace().refuse_if_full(len(part))
        attachment = attach_image(store, part, name)
    except LensError as error:
        state.notify(error)
        return
    if attachment.sha256 in {a.sha256 for a in session().pending}:
        st.toast(f"{escape(name)} waits already.", icon=":material/crop:")
        return
    session().pending = (*session().pending, attachment)
    st.session_state[NEW] = attachment.sha256

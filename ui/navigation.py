"""The pages of the app, and how to get from one to another. Links name what is open there, as the address does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from smolvlm_core.conversations.store import ConversationKind
from ui import address, state
from ui.state import session, workspace

PAGES = Path(__file__).resolve().parent.parent / "pages"
CHATS: dict[ConversationKind, Path] = {"image": PAGES / "image_chat.py", "video": PAGES / "video_chat.py"}
CHAT_TITLES: dict[ConversationKind, str] = {"image": "Image chat", "video": "Video chat"}


def pages() -> list[StreamlitPage]:
    return [
        st.Page(CHATS["image"], title=CHAT_TITLES["image"], icon=":material/image:", default=True),
        st.Page(CHATS["video"], title=CHAT_TITLES["video"], icon=":material/movie:"),
        st.Page(PAGES / "live.py", title="Live", icon=":material/videocam:"),
        st.Page(PAGES / "batch.py", title="Batch", icon=":material/photo_library:"),
        st.Page(PAGES / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(PAGES / "backends.py", title="Backends", icon=":material/dns:"),
    ]


def draw(found: Sequence[StreamlitPage]) -> None:
    """The links of the sidebar. Streamlit's own would lose what is open on the other page."""
    with st.sidebar.container(gap="xsmall"):
        for page in found:
            st.page_link(page, width="stretch", query_params=_named(page.title))


def _named(title: str) -> dict[str, str]:
    current = session()
    names = {
        CHAT_TITLES["image"]: (address.CONVERSATION, current.open_conversations["image"]),
        CHAT_TITLES["video"]: (address.CONVERSATION, current.open_conversations["video"]),
        "Batch": (address.BATCH, current.batch.open),
        "Compare": (address.COMPARISON, current.compare.key),
    }
    parameter, value = names.get(title, ("", None))
    return {parameter: value} if value else {}


def open_named(page: StreamlitPage) -> None:
    """Open the conversation that the address names, on the page it belongs to, and name it in the browser's tab.

    Pages that have something else open name it themselves.
    """
    kind = next((kind for kind, title in CHAT_TITLES.items() if title == page.title), None)
    if kind is None:
        address.set_title(page.title)
        return
    store, named = workspace().store, st.query_params.get(address.CONVERSATION)
    info = store.info(named) if named else None
    if info is not None and info.kind != kind:
        state.open_conversation(info.kind, info.id)
        open_chat(info.kind)
    shown = state.conversation(kind)
    info = store.info(shown) if shown is not None else None
    address.set_title(info.title if info is not None else page.title)


def open_chat(kind: ConversationKind) -> None:
    """Open a chat page with what is open on it. Ends the run of this page."""
    identity = session().open_conversations[kind]
    st.switch_page(CHATS[kind], query_params={address.CONVERSATION: identity} if identity else None)

"""The list of conversations: open, search, rename, export, delete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

import streamlit as st

from smolvlm_core.conversations import export, export_html
from smolvlm_core.conversations.excerpt import excerpt
from smolvlm_core.conversations.search import MAX_SEARCH_CHARACTERS
from smolvlm_core.conversations.store import ConversationInfo, ConversationKind, Store
from smolvlm_core.errors import LensError
from ui import state
from ui.chat import importing
from ui.state import session, workspace
from ui.text import escape

SHOWN = 30


def draw(kind: ConversationKind) -> None:
    st.button(
        "New conversation",
        key=f"new_conversation_{kind}",
        icon=":material/add:",
        width="stretch",
        on_click=state.open_conversation,
        args=(kind, None),
    )
    importing.draw(kind)
    search = st.text_input(
        "Search",
        key=f"search_{kind}",
        placeholder="Search conversations",
        label_visibility="collapsed",
        max_chars=MAX_SEARCH_CHARACTERS,
    )
    found = workspace().store.conversations(kind, search)
    if search and not found:
        st.caption("No conversation matches.")
    current = state.conversation(kind)
    with st.container(key="conversations", gap="xxsmall"):
        for info in found[:SHOWN]:
            _row(info, kind, info.id == current)
            if search and (text := workspace().store.matching_text(info.id, search)):
                st.caption(_marked(text, search))
    if len(found) > SHOWN:
        st.caption(f"{len(found) - SHOWN:,} more. Search to find them.")


def _marked(text: str, search: str) -> str:
    """A passage around what was searched for, which is bold."""
    before, match, after = excerpt(text, search)
    shown = f"**{escape(match)}**" if match.strip() else ""
    # `escape` takes the spaces at the ends away
    return f"{escape(before)}{' ' * before.endswith(' ')}{shown}{' ' * after.startswith(' ')}{escape(after)}"


def _row(info: ConversationInfo, kind: ConversationKind, is_open: bool) -> None:
    with st.container(horizontal=True, wrap=False, gap="xxsmall", vertical_alignment="center"):
        st.button(
            escape(info.title),
            key=f"open_{info.id}",
            width="stretch",
            type="secondary" if is_open else "tertiary",
            help=f"{escape(info.title)} · {datetime.fromtimestamp(info.updated):%Y-%m-%d %H:%M}",
            on_click=state.open_conversation,
            args=(kind, info.id),
        )
        opened = st.popover(
            "Rename, export or delete",
            icon=":material/more_vert:",
            type="tertiary",
            help="Rename, export or delete",
            key=f"menu_{info.id}",
            on_change="rerun",
        )
    if opened.open:  # those of all rows took 40 % of a page's time
        with opened:
            _menu(info, kind, is_open)


def _menu(info: ConversationInfo, kind: ConversationKind, is_open: bool) -> None:
    if session().deleting == info.id:
        st.warning("This deletes the conversation and its pictures for good.")
        with st.container(horizontal=True, gap="xsmall"):
            st.button("Delete it", key=f"sure_{info.id}", type="primary", on_click=_delete, args=(info, kind, is_open))
            st.button("Keep it", key=f"keep_{info.id}", on_click=_confirm, args=(None,))
        return
    st.text_input("Name", info.title, key=f"title_{info.id}", on_change=_rename, args=(info.id,))
    with st.container(horizontal=True, gap="xsmall"):  # in one row, so that the menu fits a small screen whole
        for label, suffix, to_text in (
            ("Web page", "html", export_html.to_html),
            ("Markdown", "md", export.to_markdown),
            ("JSON", "json", export.to_json),
        ):
            st.download_button(
                label,
                partial(_encode, to_text, info),
                export.file_name(info.title, suffix),
                key=f"{suffix}_{info.id}",
                icon=":material/download:",
            )
    st.button("Delete…", key=f"delete_{info.id}", icon=":material/delete:", on_click=_confirm, args=(info.id,))


def _encode(to_text: Callable[[Store, ConversationInfo], str], info: ConversationInfo) -> bytes:
    return to_text(workspace().store, info).encode()


def _rename(identity: str) -> None:
    try:
        workspace().store.rename(identity, st.session_state[f"title_{identity}"])
    except LensError as error:
        state.notify(error)


def _confirm(identity: str | None) -> None:
    session().deleting = identity


def _delete(info: ConversationInfo, kind: ConversationKind, is_open: bool) -> None:
    if (running := workspace().answers.running(info.id)) is not None:
        running.stop()
    session().deleting = None
    try:
        workspace().store.delete(info.id)
    except LensError as error:
        state.notify(error)
        return
    if is_open:
        state.open_conversation(kind, None)

"""Who is signed in, in the sidebar, and the page that only admins of a shared app have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.access.users import EVERYONE
from ui.access import current
from ui.access.login import LOGOUT
from ui.text import escape


def pages(folder: Path) -> list[Any]:
    is_for_admins = current.is_shared() and current.user().is_admin
    return [st.Page(folder / "usage.py", title="Usage", icon=":material/group:")] if is_for_admins else []


def draw() -> None:
    if not current.is_shared():
        return
    name = current.user().name
    with st.sidebar.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        who = "Signed in" if name == EVERYONE else f"Signed in as {escape(name)}"
        st.caption(f":material/person: {who}", width="content")
        link = f'<a href="{LOGOUT}" target="_self" style="color: inherit; font-size: 0.875rem">Sign out</a>'
        st.html(link, width="content")

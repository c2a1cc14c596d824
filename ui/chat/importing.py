"""Importing a conversation from a JSON export."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from smolvlm_core.conversations import importing
from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.errors import LensError
from ui import forms, state
from ui.navigation import CHAT_TITLES
from ui.state import session, workspace
from ui.text import message

FORM = "import"


def draw(kind: ConversationKind) -> None:
    """A button with a form. What was wrong with a file stands in the form."""
    key = f"import_{session().imports}"
    popover = st.popover("Import", icon=":material/upload:", type="tertiary", key=key, on_change="rerun")
    if not popover.open:
        return
    with popover:
        file = st.file_uploader(
            "A conversation exported as JSON",
            type="json",
            max_upload_size=importing.MAX_BYTES // 2**20,
            key=f"import_file_{session().uploader_round}",
        )
        if file is not None:
            with st.spinner("Importing…"):
                _use(file, kind)
            st.rerun()
        forms.draw_problems(FORM)


def _use(file: UploadedFile, kind: ConversationKind) -> None:
    forms.pressed(FORM)
    session().uploader_round += 1  # a new key is a new, empty uploader
    try:
        workspace().refuse_if_full(file.size)
        imported = importing.import_json(workspace().store, file.getvalue())
    except LensError as error:
        forms.refuse(FORM, error)
        return
    finally:
        state.forget_upload(file)
    session().imports += 1  # a new key is a new, closed form
    info = imported.info
    state.open_conversation(info.kind, info.id)
    where = "" if info.kind == kind else f" It is open in {CHAT_TITLES[info.kind]}."
    lost = f" {imported.missing} of its pictures are not in the file." if imported.missing else ""
    st.toast(message(f"Imported “{info.title}”.{where}{lost}"), icon=":material/upload:")

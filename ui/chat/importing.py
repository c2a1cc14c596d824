"""Importing a conversation from a JSON export."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from smolvlm_core.conversations import importing
from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.errors import LensError
from ui import state
from ui.state import session, workspace
from ui.text import message, show_error

NAMES: dict[ConversationKind, str] = {"image": "Image chat", "video": "Video chat"}


def draw(kind: ConversationKind) -> None:
    """A button with a form. What was wrong with a file stands beside the form."""
    number = st.session_state.setdefault("imports", 0)
    popover = st.popover("Import", icon=":material/upload:", type="tertiary", key=f"import_{number}", on_change="rerun")
    if not popover.open:
        return
    with popover:
        problem = st.empty()
        if text := st.session_state.get("import_problem"):
            with problem:
                show_error(text)
        file = st.file_uploader(
            "A conversation exported as JSON",
            type="json",
            max_upload_size=importing.MAX_BYTES // 2**20,
            key=f"import_file_{number}_{st.session_state.get('import_tries', 0)}",
        )
        if file is not None:
            problem.empty()
            with st.spinner("Importing…"):
                _use(file, kind)
            st.rerun()


def _use(file: UploadedFile, kind: ConversationKind) -> None:
    try:
        workspace().refuse_if_full(file.size)
        imported = importing.import_json(workspace().store, file.getvalue())
    except LensError as error:
        st.session_state["import_problem"] = str(error)
        st.session_state["import_tries"] = st.session_state.get("import_tries", 0) + 1  # the next one is another file
        return
    finally:
        state.forget_upload(file)
    st.session_state["import_problem"] = None
    st.session_state["imports"] += 1  # closes the form
    info = imported.info
    where = "" if info.kind == kind else f" It is open in {NAMES[info.kind]}."
    lost = f" {imported.missing} of its pictures are not in the file." if imported.missing else ""
    if info.kind == kind:
        state.open_conversation(kind, info.id)
    else:
        session().open_conversations[info.kind] = info.id
    st.toast(message(f"Imported “{info.title}”.{where}{lost}"), icon=":material/upload:")

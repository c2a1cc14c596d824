"""The one place where session state is set up. Three things live here: which conversation is open on each page, what
waits to be sent, and messages to show once."""

from __future__ import annotations

import copy
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from smolvlm_core.conversations.store import Kind, Store, open_store
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment
from ui.text import show_error

_DEFAULTS: dict[str, object] = {
    "conversation_image": None,
    "conversation_video": None,
    "pending": (),
    "clip": None,
    "sampled": None,
    "notices": (),
    "inlet_round": 0,
    "editing": None,
    "deleting": None,
    "preloaded": frozenset(),
    "clip_choice": {},
    "clip_restored": set(),
    "folders": (),
    "ollama_models": (),
    "comparison": None,
    "compare_shown": None,
    "compare_bytes": None,
    "compare_round": 0,
}
# Widgets: set again on every run, since Streamlit forgets a widget's value when another page is opened.
_KEPT: dict[str, object] = {
    "model": None,
    "max_new_tokens": 256,
    "temperature": 0.0,
    "top_p": 1.0,
    "seed": 0,
    "repetition_penalty": 1.0,
    "system_prompt": "",
    "dtype": "bfloat16",
    "compare_backends": None,
    "compare_questions": "",
    "compare_blind": False,
    "compare_count": 8,
}


def prepare() -> Store:
    """Set what is not set yet; call first on every page."""
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, copy.copy(value))  # a session's own, where it can be changed
    for key, value in _KEPT.items():
        st.session_state[key] = st.session_state.get(key, value)
    return open_store()


def conversation(kind: Kind) -> str | None:
    """The open conversation of a page, None for a new one or one that another tab deleted."""
    identity: str | None = st.session_state[f"conversation_{kind}"]
    if identity is not None and open_store().info(identity) is None:
        notify("This conversation was deleted in another tab.")
        identity = st.session_state[f"conversation_{kind}"] = None
    return identity


def open_conversation(kind: Kind, identity: str | None) -> None:
    st.session_state[f"conversation_{kind}"] = identity
    st.session_state["editing"] = st.session_state["deleting"] = None
    if kind == "image":
        st.session_state["pending"] = ()
    else:
        st.session_state["clip"] = st.session_state["sampled"] = None


def pending() -> tuple[Attachment, ...]:
    """Pictures that go with the next question."""
    return st.session_state["pending"]  # type: ignore[no-any-return]


def waiting_media() -> frozenset[str]:
    """What this session holds and has not sent yet."""
    clip = st.session_state["clip"]
    return frozenset(a.sha256 for a in pending()) | ({clip.sha256} if clip is not None else frozenset())


def forget_upload(upload: UploadedFile) -> None:
    """Streamlit holds an upload in memory until the session ends, and a clip can be hundreds of megabytes: give it back."""
    context = get_script_run_ctx()
    if context is not None:
        manager: Any = context.uploaded_file_mgr  # its interface does not promise what the one that is used can
        manager.remove_file(context.session_id, upload.file_id)


def notify(problem: str | LensError) -> None:
    """Show a message at the top of the page, once."""
    st.session_state["notices"] = (*st.session_state["notices"], str(problem))


def show_notices() -> None:
    for text in st.session_state["notices"]:
        show_error(text)
    st.session_state["notices"] = ()

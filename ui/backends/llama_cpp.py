"""Which llama.cpp this machine has, and what would make answers faster."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp import programs
from smolvlm_core.llamacpp.text import client as text_model
from ui.text import escape, message


def warn_if_old() -> None:
    """Above the list: a build with a known fault, or none at all."""
    try:
        server = programs.find_server()
    except LensError as error:
        st.info(message(error), icon=":material/terminal:")
        return
    if server.warning:
        st.warning(message(server.warning), icon=":material/update:")


def draw() -> None:
    """Below everything: for people who want more speed."""
    try:
        server = programs.find_server()
    except LensError:
        server = None
    hints = []
    if server is not None and server.bundled:
        hints.append(message(f"A native build can be faster, and quantizes to more types. {programs.NATIVE}."))
    if not text_model.is_installed():
        hints.append(
            f"Faster answers on a CPU: `{text_model.INSTALL}` adds the hybrid backend, which encodes pictures in this app and "
            "writes text with llama.cpp. It needs a C++ compiler."
        )
    if server is None and not hints:
        return
    st.subheader("llama.cpp")
    if server is not None:
        st.caption(f"{escape(server.short_version)}: {escape(server.why)}.")
    for hint in hints:
        st.caption(f":material/speed: {hint}")

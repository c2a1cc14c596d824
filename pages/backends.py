"""Which backends there are, where they stand, and how to add one."""

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp import programs
from smolvlm_core.llamacpp.text import client as text_model
from ui import state
from ui.backends import add, conversions, rows
from ui.text import escape, message

st.title("Backends")
st.caption(
    "Models you can use: in this app, through llama.cpp, or on another server. Choose one under Model in the sidebar of a chat "
    "page. The check shows a model newly drawn images until the verdict is clear."
)
state.show_notices()
program, listed, adding = st.container(), st.container(), st.container()
with program:
    try:
        server = programs.find_server()
        st.caption(f":material/terminal: llama.cpp {escape(server.short_version)}: {escape(server.why)}.")
        if server.bundled:
            st.caption(message(f"A native build can be faster, and quantizes to more types. {programs.NATIVE}."))
        if server.warning:
            st.warning(message(server.warning), icon=":material/update:")
    except LensError as error:
        st.info(message(error), icon=":material/terminal:")
    if not text_model.is_installed():
        st.caption(
            f":material/speed: Faster answers on a CPU: `{text_model.INSTALL}` adds the hybrid backend, which encodes pictures in "
            "this app and writes text with llama.cpp. It needs a C++ compiler."
        )
with listed:
    rows.draw()
with adding:
    if state.is_admin():
        st.subheader("Add a backend")
        convert, pair, server_tab, ollama = st.tabs(["Convert a checkpoint", "GGUF files", "Server", "Ollama"])
        with convert:
            conversions.draw_form()
            conversions.draw_jobs()
        with pair:
            add.draw_gguf_form()
        with server_tab:
            add.draw_server_form()
        with ollama:
            add.draw_ollama_form()
    else:
        st.caption("Admins of this app add and remove backends.")

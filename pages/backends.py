"""Which backends there are, their state, and how to add one."""

import streamlit as st

from ui import state
from ui.backends import add, conversions, llama_cpp, rows
from ui.backends import sidebar as machine_sidebar
from ui.chat import sidebar

st.title("Backends")
st.caption(
    "Models you can use: in this app, through llama.cpp, or on another server. Choose the one that chats use under Model in the "
    "sidebar. *Check* shows whether a model really sees: it asks about newly drawn images until the verdict is clear."
)
state.show_notices()
sidebar.draw_other(with_model=True)
machine_sidebar.draw()
llama_cpp.warn_if_old()
rows.draw()
if state.is_admin():
    st.subheader("Add a backend")
    convert, pair, server, ollama = st.tabs(["Convert a checkpoint", "GGUF files", "Server", "Ollama"])
    with convert:
        conversions.draw_form()
        conversions.draw_jobs()
    with pair:
        add.draw_gguf_form()
    with server:
        add.draw_server_form()
    with ollama:
        add.draw_ollama_form()
else:
    st.caption("Only admins of this app can add and remove backends.")
llama_cpp.draw()

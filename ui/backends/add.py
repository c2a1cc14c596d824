"""Forms that add a backend: GGUF files, a server, a model of Ollama. What was typed stays where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from smolvlm_core.backends.base import Entry
from smolvlm_core.backends.llama_cpp import GgufEntry
from smolvlm_core.backends.remote import ollama
from smolvlm_core.backends.remote.ollama import OllamaEntry
from smolvlm_core.backends.remote.ollama_api import DEFAULT_URL
from smolvlm_core.backends.remote.server_entry import ServerEntry
from smolvlm_core.errors import LensError
from ui import state
from ui.state import session, workspace
from ui.text import message


def path_of(text: str) -> Path:
    """A path as people paste it: quoted, with spaces around it, with ~."""
    return Path(text.strip().strip("\"'")).expanduser()


def draw_gguf_form() -> None:
    with st.form("pair", border=False):
        st.text_input("Text model", key="gguf_text", placeholder="/path/to/SmolVLM2-500M-Video-Instruct-Q8_0.gguf")
        st.text_input(
            "Vision projector",
            key="gguf_projector",
            placeholder="mmproj-….gguf. Detected automatically if it is in the same folder",
        )
        context, layers, threads = st.columns(3)
        context.number_input("Context (tokens)", 0, key="gguf_context", help="0: the model's own")
        layers.number_input("GPU layers", -1, value=None, key="gguf_layers", placeholder="llama-server decides")
        threads.number_input("Threads", 1, value=None, key="gguf_threads", placeholder="llama-server decides")
        st.form_submit_button("Add", icon=":material/add:", on_click=_add_gguf)


def draw_server_form() -> None:
    with st.form("server", border=False):
        st.text_input("Address", key="server_url", placeholder="http://127.0.0.1:8080/v1")
        st.text_input("Model", key="server_model", placeholder="The first one it lists")
        st.text_input("API key", key="server_key", type="password", placeholder="None")
        st.form_submit_button("Add", icon=":material/add:", on_click=_add_server)
        st.caption(
            "vLLM, LM Studio, llama-server, `transformers serve`, Open WebUI: any server with the OpenAI chat API."
        )


def draw_ollama_form() -> None:
    url = st.text_input("Ollama's address", DEFAULT_URL, key="ollama_url")
    st.button("List its models", icon=":material/list:", on_click=_list_ollama, args=(url.strip(),))
    if session().ollama_models:
        model = st.selectbox("Model", session().ollama_models, key="ollama_model")
        add = lambda: OllamaEntry.of_model(model, url.strip())  # noqa: E731
        st.button("Add", icon=":material/add:", on_click=_add, args=(add,), key="add_ollama")


def _add(make_entry: Callable[[], Entry], *inputs: str) -> None:
    """Add what `make_entry` returns, and empty the inputs; or say why not."""
    try:
        entry = workspace().registry.add(make_entry())
    except LensError as error:
        state.notify(error)
        return
    for key in inputs:
        st.session_state[key] = ""
    warning = entry.make(workspace().pool).warning
    text = f"Added {entry.title}. {warning}".strip()
    st.toast(message(text), icon=":material/warning:" if warning else ":material/check:")


def _add_gguf() -> None:
    values = st.session_state

    def make() -> Entry:
        text, projector = values["gguf_text"], values["gguf_projector"]
        if not text.strip():
            raise LensError("There is no text model.", "Enter the path of a .gguf file.")
        return GgufEntry.of_files(
            path_of(text),
            path_of(projector) if projector.strip() else None,
            context_tokens=values["gguf_context"] or 0,
            gpu_layers=values["gguf_layers"],
            threads=values["gguf_threads"],
        )

    _add(make, "gguf_text", "gguf_projector")


def _add_server() -> None:
    url, model, key = (st.session_state[f"server_{part}"].strip() for part in ("url", "model", "key"))
    _add(lambda: ServerEntry.of_url(url, model, key), "server_url", "server_model", "server_key")


def _list_ollama(url: str) -> None:
    try:
        session().ollama_models = tuple(ollama.models(url))
    except LensError as error:
        state.notify(error)

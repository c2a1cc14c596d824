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
from smolvlm_core.backends.remote.timeouts import (
    CONNECT_SECONDS,
    FIRST_BYTE_SECONDS,
    MOST_SECONDS,
    SILENCE_SECONDS,
    Timeouts,
)
from smolvlm_core.errors import LensError
from ui import forms, state
from ui.state import session, workspace
from ui.text import message

# Name of the field: label, default in seconds, explanation
TIMEOUTS = {
    "connect_seconds": ("Connect", CONNECT_SECONDS, "How long to wait for a connection."),
    "first_byte_seconds": (
        "First byte",
        FIRST_BYTE_SECONDS,
        "How long to wait until the answer begins. Loading the model and reading pictures can take minutes.",
    ),
    "silence_seconds": ("Silence", SILENCE_SECONDS, "The longest pause within an answer."),
}


def path_of(text: str) -> Path:
    """A path as people paste it: quoted, with spaces around it, with ~."""
    return Path(text.strip().strip("\"'")).expanduser()


def draw_gguf_form() -> None:
    with st.form("pair", border=False):
        st.text_input("Text model", key="gguf_text", placeholder="/path/to/SmolVLM2-500M-Video-Instruct-Q8_0.gguf")
        st.text_input(
            "Vision projector",
            key="gguf_projector",
            placeholder="mmproj-….gguf; found automatically in the same folder",
        )
        context, layers, threads = st.columns(3)
        context.number_input("Context (tokens)", 0, key="gguf_context", help="0: as long as the model allows")
        layers.number_input("GPU layers", -1, value=None, key="gguf_layers", placeholder="llama-server decides")
        threads.number_input("Threads", 1, value=None, key="gguf_threads", placeholder="llama-server decides")
        st.form_submit_button("Add", icon=":material/add:", on_click=state.for_admins(_add_gguf))
        forms.draw_problems("pair")


def draw_server_form() -> None:
    with st.form("server", border=False):
        st.caption(
            "Any server with the OpenAI chat API: vLLM, LM Studio, llama-server, `transformers serve`, Open WebUI."
        )
        st.text_input("Address", key="server_url", placeholder="http://127.0.0.1:8080/v1")
        st.text_input("Model", key="server_model", placeholder="First model the server lists")
        st.text_input("API key", key="server_key", type="password", placeholder="Only if the server needs one")
        _draw_timeouts("server")
        st.form_submit_button("Add", icon=":material/add:", on_click=state.for_admins(_add_server))
        forms.draw_problems("server")


def draw_ollama_form() -> None:
    url = st.text_input("Ollama address", DEFAULT_URL, key="ollama_url")
    st.button("List models", icon=":material/list:", on_click=state.for_admins(_list_ollama), args=(url.strip(),))
    forms.draw_problems("ollama_list")
    if session().ollama_models:
        model = st.selectbox("Model", session().ollama_models, key="ollama_model")
        _draw_timeouts("ollama")
        add = lambda: OllamaEntry.of_model(model, url.strip(), _timeouts("ollama"))  # noqa: E731
        st.button("Add", icon=":material/add:", on_click=state.for_admins(_add), args=("ollama", add), key="add_ollama")
        forms.draw_problems("ollama")


def _draw_timeouts(form: str) -> None:
    with st.expander("Timeouts"):
        columns = st.columns(3)
        for column, (name, (label, default, explained)) in zip(columns, TIMEOUTS.items(), strict=True):
            column.number_input(
                f"{label} (seconds)", 1.0, MOST_SECONDS, default, 1.0, "%g", key=f"{form}_{name}", help=explained
            )
        st.caption("To change timeouts later, add the server again.")


def _timeouts(form: str) -> Timeouts:
    return Timeouts(**{name: float(st.session_state[f"{form}_{name}"]) for name in TIMEOUTS})


def _add(form: str, make_entry: Callable[[], Entry], *inputs: str) -> None:
    """Add what `make_entry` returns, and empty the inputs; or say beside the form why not."""
    forms.pressed(form)
    try:
        entry = workspace().registry.add(make_entry())
    except LensError as error:
        forms.refuse(form, error)
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

    _add("pair", make, "gguf_text", "gguf_projector")


def _add_server() -> None:
    url, model, key = (st.session_state[f"server_{part}"].strip() for part in ("url", "model", "key"))
    inputs = ("server_url", "server_model", "server_key")
    _add("server", lambda: ServerEntry.of_url(url, model, key, _timeouts("server")), *inputs)


def _list_ollama(url: str) -> None:
    forms.pressed("ollama_list")
    try:
        session().ollama_models = tuple(ollama.models(url))
    except LensError as error:
        forms.refuse("ollama_list", error)

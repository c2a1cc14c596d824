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
from ui import state
from ui.state import session, workspace
from ui.text import message

# Name of the field: label, default in seconds, explanation
TIMEOUTS = {
    "connect_seconds": ("Connect", CONNECT_SECONDS, "Until there is a connection."),
    "first_byte_seconds": (
        "First byte",
        FIRST_BYTE_SECONDS,
        "Until the answer begins. Loading the model and reading pictures can take minutes.",
    ),
    "silence_seconds": ("Silence", SILENCE_SECONDS, "Between two pieces of an answer."),
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
            placeholder="mmproj-….gguf. Detected automatically if it is in the same folder",
        )
        context, layers, threads = st.columns(3)
        context.number_input("Context (tokens)", 0, key="gguf_context", help="0: the model's own")
        layers.number_input("GPU layers", -1, value=None, key="gguf_layers", placeholder="llama-server decides")
        threads.number_input("Threads", 1, value=None, key="gguf_threads", placeholder="llama-server decides")
        st.form_submit_button("Add", icon=":material/add:", on_click=state.for_admins(_add_gguf))


def draw_server_form() -> None:
    with st.form("server", border=False):
        st.text_input("Address", key="server_url", placeholder="http://127.0.0.1:8080/v1")
        st.text_input("Model", key="server_model", placeholder="The first one it lists")
        st.text_input("API key", key="server_key", type="password", placeholder="None")
        _draw_timeouts("server")
        st.form_submit_button("Add", icon=":material/add:", on_click=state.for_admins(_add_server))
        st.caption(
            "vLLM, LM Studio, llama-server, `transformers serve`, Open WebUI: any server with the OpenAI chat API."
        )


def draw_ollama_form() -> None:
    url = st.text_input("Ollama's address", DEFAULT_URL, key="ollama_url")
    st.button("List its models", icon=":material/list:", on_click=state.for_admins(_list_ollama), args=(url.strip(),))
    if session().ollama_models:
        model = st.selectbox("Model", session().ollama_models, key="ollama_model")
        _draw_timeouts("ollama")
        add = lambda: OllamaEntry.of_model(model, url.strip(), _timeouts("ollama"))  # noqa: E731
        st.button("Add", icon=":material/add:", on_click=state.for_admins(_add), args=(add,), key="add_ollama")


def _draw_timeouts(form: str) -> None:
    with st.expander("Timeouts"):
        columns = st.columns(3)
        for column, (name, (label, default, explained)) in zip(columns, TIMEOUTS.items(), strict=True):
            column.number_input(
                f"{label} (seconds)", 1.0, MOST_SECONDS, default, 1.0, "%g", key=f"{form}_{name}", help=explained
            )
        st.caption("To change them later, add the same server again.")


def _timeouts(form: str) -> Timeouts:
    return Timeouts(**{name: float(st.session_state[f"{form}_{name}"]) for name in TIMEOUTS})


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
    _add(lambda: ServerEntry.of_url(url, model, key, _timeouts("server")), "server_url", "server_model", "server_key")


def _list_ollama(url: str) -> None:
    try:
        session().ollama_models = tuple(ollama.models(url))
    except LensError as error:
        state.notify(error)

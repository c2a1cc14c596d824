"""Which backends there are, how they stand, and how to add one."""

from pathlib import Path

import streamlit as st

from smolvlm_core.backends import registry
from smolvlm_core.backends.remote import ollama
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp import programs as llama_programs
from smolvlm_core.paths import BUNDLED_CHECKPOINT, data_folder, default_gguf_folder
from smolvlm_core.work import job as jobs
from ui import state
from ui.backends import checks
from ui.backends import rows as backend_rows
from ui.text import escape, message

state.prepare()
st.title("Backends")
st.caption(
    "What can answer: models run by transformers in this app, pairs of GGUF files run by llama.cpp, and servers elsewhere. "
    "Pick one under Model in the sidebar of a chat page. The check asks about fresh drawings until it is plain whether it sees."
)
state.show_notices()


def path_of(text: str) -> Path:
    return Path(text.strip().strip("\"'")).expanduser()


def add_pair() -> None:
    text, projector = st.session_state["gguf_text"], st.session_state["gguf_projector"]
    try:
        if not text.strip():
            raise LensError("No text model given.", "Give the path of a .gguf file.")
        entry = registry.gguf_entry(
            path_of(text),
            path_of(projector) if projector.strip() else None,
            context_tokens=st.session_state["gguf_context"] or 0,
            gpu_layers=st.session_state["gguf_layers"],
            threads=st.session_state["gguf_threads"],
        )
        registry.remember(entry)
    except LensError as error:
        state.notify(error)
        return
    st.session_state["gguf_text"] = st.session_state["gguf_projector"] = ""
    found = f"with {Path(entry.projector).name}" if entry.projector else "without a projector: it cannot see"
    st.toast(
        message(f"Added {entry.title}, {found}."), icon=":material/check:" if entry.projector else ":material/warning:"
    )


def add_server() -> None:
    try:
        entry = registry.url_entry(*(st.session_state[f"server_{part}"].strip() for part in ("url", "model", "key")))
        registry.remember(entry)
    except LensError as error:
        state.notify(error)
        return
    for part in ("url", "model", "key"):
        st.session_state[f"server_{part}"] = ""
    st.toast(message(f"Added {entry.title}."), icon=":material/check:")


def list_ollama() -> None:
    try:
        st.session_state["ollama_models"] = tuple(ollama.models(st.session_state["ollama_url"].strip()))
    except LensError as error:
        state.notify(error)


def add_ollama() -> None:
    try:
        entry = registry.ollama_entry(st.session_state["ollama_model"], st.session_state["ollama_url"].strip())
        registry.remember(entry)
    except LensError as error:
        state.notify(error)
        return
    st.toast(message(f"Added {entry.title}."), icon=":material/check:")


def begin_conversion() -> None:
    folder = path_of(st.session_state["convert_folder"])
    wanted, kind = st.session_state["convert_quantize"], st.session_state["convert_projector"].lower()
    out = st.session_state["convert_out"].strip()
    target = path_of(out) if out else default_gguf_folder(folder, folder.name)

    def work(report: jobs.Report, _cancel: object) -> backend_rows.Converted:
        from smolvlm_core.llamacpp.convert import convert
        from smolvlm_core.llamacpp.verify import verify_pair

        made = convert(folder, target, wanted, kind, report)
        assert made.projector is not None
        findings = verify_pair(made.texts[0].path, made.projector.path, folder, made.spec)
        entries = [registry.remember(registry.gguf_entry(t.path, made.projector.path)) for t in made.texts]
        for entry in entries:
            checks.begin(registry.of_entry(entry).backend, close=True)
        wrong = tuple(f.what for f in findings if not f.ok)
        return backend_rows.Converted(tuple(entry.title for entry in entries), (*wrong, *made.told))

    jobs.start(f"convert {folder}", work)


programs, listed, adding = st.container(), st.container(), st.container()
with programs:
    try:
        found = llama_programs.find_server()
        st.caption(f":material/terminal: llama-server {escape(found.told)}")
        if found.warning:
            st.warning(found.warning, icon=":material/update:")
    except LensError as error:
        st.info(message(error), icon=":material/terminal:")
with listed:
    backend_rows.draw()
with adding:
    st.subheader("Add a backend")
    convert, pair, server, from_ollama = st.tabs(["Convert a checkpoint", "GGUF files", "Server", "Ollama"])
with convert:
    with st.form("convert", border=False):
        st.text_input("Checkpoint folder", str(BUNDLED_CHECKPOINT), key="convert_folder")
        st.multiselect(
            "Also quantized to",
            ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"],
            key="convert_quantize",
            help="Smaller text models beside the F16 one. How well they still see is for the check to say.",
        )
        st.segmented_control("Projector", ["F16", "Q8_0"], default="F16", required=True, key="convert_projector")
        st.text_input("Save to", key="convert_out", placeholder=str(data_folder() / "gguf"))
        st.form_submit_button("Convert", icon=":material/transform:", on_click=begin_conversion)
    backend_rows.conversions()
with pair, st.form("pair", border=False):
    st.text_input("Text model", key="gguf_text", placeholder="/path/to/SmolVLM2-500M-Video-Instruct-Q8_0.gguf")
    st.text_input(
        "Vision projector", key="gguf_projector", placeholder="mmproj-….gguf: found by itself where it lies beside"
    )
    context, layers, threads = st.columns(3)
    context.number_input("Context (tokens)", 0, key="gguf_context", help="0: the model's own")
    layers.number_input("GPU layers", -1, value=None, key="gguf_layers", placeholder="llama-server decides")
    threads.number_input("Threads", 1, value=None, key="gguf_threads", placeholder="llama-server decides")
    st.form_submit_button("Add", icon=":material/add:", on_click=add_pair)
with server, st.form("server", border=False):
    st.text_input("Address", key="server_url", placeholder="http://127.0.0.1:8080/v1")
    st.text_input("Model", key="server_model", placeholder="the first one it lists")
    st.text_input("API key", key="server_key", type="password", placeholder="None")
    st.form_submit_button("Add", icon=":material/add:", on_click=add_server)
    st.caption("vLLM, LM Studio, llama-server, `transformers serve`, Open WebUI: whatever speaks the OpenAI chat API.")
with from_ollama:
    st.text_input("Ollama's address", ollama.DEFAULT_URL, key="ollama_url")
    st.button("List its models", icon=":material/list:", on_click=list_ollama)
    if found_models := st.session_state["ollama_models"]:
        st.selectbox("Model", found_models, key="ollama_model")
        st.button("Add", icon=":material/add:", on_click=add_ollama, key="add_ollama")

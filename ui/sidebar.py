"""The sidebar of every chat page: model, its state, settings, conversations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import streamlit as st

from smolvlm_core import catalog, export
from smolvlm_core.answering import running_answer
from smolvlm_core.backends.base import GenerationSettings
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.catalog import ModelSpec
from smolvlm_core.errors import LensError
from smolvlm_core.loader import POOL, ModelHandle
from smolvlm_core.machine import GIB, this_machine
from smolvlm_core.prompt import check_text
from smolvlm_core.store import ConversationInfo, Kind, Store
from ui import state


@dataclass(frozen=True)
class Choice:
    """What the sidebar says the next question is answered with."""

    spec: ModelSpec
    backend: TransformersBackend
    settings: GenerationSettings


def draw(store: Store, kind: Kind) -> Choice:
    with st.sidebar:
        spec = _model()
        status = st.container()
        settings, dtype = _settings()
        backend = TransformersBackend(spec, dtype)  # type: ignore[arg-type]
        with status:
            _status(backend)
        _conversations(store, kind)
    return Choice(spec, backend, settings)


def _model() -> ModelSpec:
    default, why = catalog.default_model(this_machine())
    folders = [name for name in st.session_state["folders"] if Path(name).is_dir()]
    names = [spec.key for spec in catalog.models()] + folders
    if st.session_state["model"] not in names:
        st.session_state["model"] = default.key
    st.selectbox("Model", names, key="model", format_func=lambda name: catalog.find(name).title)
    spec = catalog.find(st.session_state["model"])
    here = "on this machine" if catalog.is_cached(spec) else f"{spec.weights_bytes / GIB:.1f} GiB to download"
    facts = f"{spec.parameters / 1e6:,.0f} M parameters, {here}. {spec.tokens_per_square_image} tokens a picture, {spec.geometry.tokens_per_tile} a frame."
    lines = [spec.note and f":orange[:material/info: **{spec.note}**]", why if spec.key == default.key else "", facts]
    st.caption("  \n".join(filter(None, lines)))
    return spec


def _add_folder() -> None:
    try:
        spec = catalog.from_folder(Path(st.session_state["folder"]).expanduser())
    except LensError as error:
        state.notify(error)
        return
    st.session_state["folders"] = tuple(dict.fromkeys((*st.session_state["folders"], spec.key)))
    st.session_state["model"] = spec.key
    st.session_state["folder"] = ""


def _settings() -> tuple[GenerationSettings, str]:
    with st.expander("Settings", icon=":material/tune:"):
        tokens = st.slider("Longest answer (tokens)", 16, 1024, step=16, key="max_new_tokens")
        temperature = st.slider(
            "Temperature", 0.0, 2.0, step=0.1, key="temperature", help="0 always takes the likeliest token."
        )
        sampled = temperature > 0
        top_p = st.slider(
            "Top-p", 0.05, 1.0, step=0.05, key="top_p", disabled=not sampled, help="Only with a temperature above 0."
        )
        seed = st.number_input(
            "Seed", 0, 2**31, key="seed", disabled=not sampled, help="Only with a temperature above 0."
        )
        penalty = st.slider("Repetition penalty", 1.0, 2.0, step=0.05, key="repetition_penalty")
        system = st.text_area("System prompt", key="system_prompt", placeholder="None", height=70)
        dtype = st.selectbox("Precision", ["bfloat16", "float32"], key="dtype", help="float32 takes twice the memory.")
        st.text_input(
            "Checkpoint folder",
            key="folder",
            placeholder="/path/to/SmolVLM2-500M-Video-Instruct",
            on_change=_add_folder,
            help="A folder with config.json, the tokenizer's files and .safetensors weights; it then appears under Model.",
        )
    try:
        check_text(system)
    except LensError as error:
        st.error(f"{error} The system prompt is not used.")
        system = ""
    return GenerationSettings(tokens, temperature, top_p, penalty, int(seed), system), dtype


@st.fragment(run_every=1.0)
def _status(backend: TransformersBackend) -> None:
    """Where the model stands. Once the page has been drawn, starts loading what is on this machine."""
    handle = backend.handle
    if handle.state == "loading":
        st.progress(handle.status_fraction or 0.0, text=f":material/hourglass_top: {handle.status_text}…")
    elif handle.state == "failed":
        st.error(str(handle.error), icon=":material/error:")
        st.button("Try again", on_click=_load_again, args=(handle,), key="retry_load")
    elif handle.state == "ready" and (loaded := handle.loaded) is not None:
        device = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}[loaded.device]
        st.caption(
            f":green[:material/check_circle: **Ready on {device}**], {_size(loaded.memory_bytes)} of weights, "
            f"loaded in {loaded.load_seconds:.1f} s"
        )
    elif not catalog.is_cached(backend.spec):
        st.caption(":material/download: Downloaded with the first question")
    else:
        st.caption(":material/hourglass_empty: Not loaded: the next question loads it")
        _preload_once(backend)
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    st.caption(f"App memory {_size(used)} of {_size(total)} · models loaded: {len(POOL.loaded())}")


def _preload_once(backend: TransformersBackend) -> None:
    """Once a session for each model, and not in the first drawing: torch would slow that down. Two tabs with two models
    that do not fit together must not push each other out for ever."""
    if st.session_state.get("painted") and backend.name not in st.session_state["preloaded"]:
        st.session_state["preloaded"] |= {backend.name}
        backend.handle.preload()
    st.session_state["painted"] = True


def _load_again(handle: ModelHandle) -> None:
    handle.reset()
    handle.preload()


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def _conversations(store: Store, kind: Kind) -> None:
    st.subheader("Conversations")
    st.button(
        "New conversation", icon=":material/add:", width="stretch", on_click=state.open_conversation, args=(kind, None)
    )
    search = st.text_input(
        "Search", key=f"search_{kind}", placeholder="Search titles and messages", label_visibility="collapsed"
    )
    found = store.conversations(kind, search)
    if search and not found:
        st.caption("Nothing found.")
    current = state.conversation(kind)
    for info in found[:30]:
        _row(store, info, kind, info.id == current)
    if len(found) > 30:
        st.caption(f"{len(found) - 30} more: search to find them.")


def _row(store: Store, info: ConversationInfo, kind: Kind, is_open: bool) -> None:
    name, menu = st.columns([5, 1], gap="small", vertical_alignment="center")
    name.button(
        info.title if len(info.title) <= 34 else info.title[:33] + "…",
        key=f"open_{info.id}",
        width="stretch",
        type="primary" if is_open else "tertiary",
        help=f"{datetime.fromtimestamp(info.updated):%Y-%m-%d %H:%M}",
        on_click=state.open_conversation,
        args=(kind, info.id),
    )
    with menu.popover("", icon=":material/more_vert:", type="tertiary", help="Rename, export, delete"):
        st.text_input(
            "Name",
            info.title,
            key=f"title_{info.id}",
            on_change=lambda: store.rename(info.id, st.session_state[f"title_{info.id}"]),
        )
        st.download_button(
            "Markdown",
            lambda: export.to_markdown(store, info).encode(),
            f"{info.title[:40]}.md",
            key=f"md_{info.id}",
            icon=":material/download:",
        )
        st.download_button(
            "JSON",
            lambda: export.to_json(store, info).encode(),
            f"{info.title[:40]}.json",
            key=f"json_{info.id}",
            icon=":material/download:",
        )
        if st.session_state["deleting"] == info.id:
            st.warning("Deleted for good, its pictures too.")
            st.button(
                "Delete it", key=f"sure_{info.id}", type="primary", on_click=_delete, args=(store, info, kind, is_open)
            )
        else:
            st.button("Delete…", key=f"delete_{info.id}", icon=":material/delete:", on_click=_confirm, args=(info.id,))


def _confirm(identity: str) -> None:
    st.session_state["deleting"] = identity


def _delete(store: Store, info: ConversationInfo, kind: Kind, is_open: bool) -> None:
    if (running := running_answer(info.id)) is not None:
        running.stop()
    store.delete(info.id, keep=state.waiting_media())
    st.session_state["deleting"] = None
    if is_open:
        state.open_conversation(kind, None)

"""The sidebar of every chat page: model, its state, settings, conversations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import streamlit as st

from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend, ServerHandle
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import verdicts
from smolvlm_core.conversations import export
from smolvlm_core.conversations.answering import running_answer
from smolvlm_core.conversations.store import ConversationInfo, Kind, Store
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import POOL, ModelHandle
from smolvlm_core.models.machine import GIB, this_machine
from smolvlm_core.prompt.build import check_text
from smolvlm_core.prompt.generation import GenerationSettings
from ui import state
from ui.backends import checks
from ui.backends import summary as backend_list
from ui.backends.summary import told_size
from ui.text import escape, message, show_error


@dataclass(frozen=True)
class Choice:
    """What the sidebar says the next question is answered with."""

    spec: ModelSpec
    backend: Backend
    settings: GenerationSettings
    note: str = ""


def draw(store: Store, kind: Kind) -> Choice:
    with st.sidebar:
        chosen = _model()
        status = st.container()
        settings, dtype = _settings(is_transformers=isinstance(chosen.backend, TransformersBackend))
        backend = chosen.backend
        if isinstance(backend, TransformersBackend):
            backend = TransformersBackend(chosen.spec, dtype)  # type: ignore[arg-type]
        with status:
            backend_list.badge(backend)
            polled = _will_change(backend)
            st.fragment(_status, run_every=1.0 if polled else None)(backend, polled)
        _conversations(store, kind)
    return Choice(chosen.spec, backend, settings, chosen.note)


def warn_if_blind(choice: Choice) -> None:
    """Above the chat, before anything is asked: a model that cannot be shown pictures, or was found not to see them."""
    if isinstance(choice.backend, LlamaCppBackend) and choice.backend.options.projector is None:
        st.error(
            f"**{escape(choice.spec.title)} has no vision projector.** Served like this, it would answer fluently about pictures "
            "that it never saw. Pictures are therefore refused here. On the Backends page, add it again with its `mmproj` "
            "file, or convert the checkpoint: that makes both.",
            icon=":material/visibility_off:",
        )
        return
    kept = verdicts.last(choice.backend)
    if kept is not None and kept.verdict == "blind":
        told = f"**{escape(choice.spec.title)} was found blind**: it answers about pictures without seeing them. {message(kept.cause)} {message(kept.mend)}"
        st.error(told.strip(), icon=":material/visibility_off:")
    elif kept is not None and kept.verdict == "degraded":
        told = f"**{escape(choice.spec.title)} was found degraded**: check what it says of pictures. {message(kept.cause)} {message(kept.mend)}"
        st.warning(told.strip(), icon=":material/warning:")
    checks.draw_progress(choice.backend)


def _model() -> registry.Choice:
    default, why = catalog.default_model(this_machine())
    folders = [name for name in st.session_state["folders"] if Path(name).is_dir()]
    titles = backend_list.titles()
    names = [spec.key for spec in catalog.models()] + folders + list(titles)
    if st.session_state["model"] not in names:
        st.session_state["model"] = default.key
    st.selectbox(
        "Model",
        names,
        key="model",
        format_func=lambda name: titles.get(name) or catalog.find(name).title,
        help="More can be added on the Backends page: GGUF files for llama.cpp, and servers.",
    )
    try:
        chosen = registry.choose(st.session_state["model"])
    except LensError as error:
        show_error(f"{error} The default model is used instead.")
        chosen = registry.choose(default.key)
    spec = chosen.spec
    lines = [
        chosen.note and f":orange[:material/info: **{escape(chosen.note)}**]",
        why if spec.key == default.key else "",
        _facts(chosen),
    ]
    st.caption("  \n".join(filter(None, lines)))
    return chosen


def _facts(chosen: registry.Choice) -> str:
    spec = chosen.spec
    picture = spec.tokens_per_square_image
    frame = spec.geometry.tokens_per_tile * (2 if spec.geometry.always_overview else 1)
    costs = f"{picture} tokens a picture, {frame} a frame."
    if isinstance(chosen.backend, TransformersBackend):
        here = "on this machine" if catalog.is_cached(spec) else f"{spec.weights_bytes / GIB:.1f} GiB to download"
        return f"{spec.parameters / 1e6:,.0f} M parameters, {here}. {costs}"
    if isinstance(chosen.backend, LlamaCppBackend):
        if chosen.backend.options.projector is None:
            return f"{spec.parameters / 1e6:,.0f} M parameters."
        return f"{spec.parameters / 1e6:,.0f} M parameters, with its projector. {costs}"
    return f"About {costs}"


def _add_folder() -> None:
    try:
        spec = catalog.from_folder(Path(st.session_state["folder"]).expanduser())
    except LensError as error:
        state.notify(error)
        return
    st.session_state["folders"] = tuple(dict.fromkeys((*st.session_state["folders"], spec.key)))
    st.session_state["model"] = spec.key
    st.session_state["folder"] = ""


def _settings(*, is_transformers: bool) -> tuple[GenerationSettings, str]:
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
        dtype = st.selectbox(
            "Precision",
            ["bfloat16", "float32"],
            key="dtype",
            disabled=not is_transformers,
            help="Of models run by transformers. float32 takes twice the memory.",
        )
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
        show_error(f"{error} The system prompt is not used.")
        system = ""
    return GenerationSettings(tokens, temperature, top_p, penalty, int(seed), system), dtype


def _will_change(backend: Backend) -> bool:
    """Whether the status is worth drawing again by itself: an idle tab asks the server for nothing."""
    return not st.session_state.get("painted") or backend_list.is_busy(backend)


def _status(backend: Backend, polled: bool) -> None:
    """Where the model stands. Once the page has been drawn, starts loading what is on this machine."""
    if isinstance(backend, TransformersBackend | LlamaCppBackend):
        _handle_status(backend)
    else:
        st.caption(":material/cloud: Runs elsewhere: asked when you ask")
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    st.caption(f"App memory {told_size(used)} of {told_size(total)} · models loaded: {len(POOL.loaded())}")
    with st.expander("Backends", icon=":material/dns:"):
        for name, told in backend_list.states():
            st.caption(f"**{escape(name)}**  \n{message(told)}")
        st.caption("Add, check and remove them on the Backends page.")
    st.session_state["painted"] = True
    if polled and not _will_change(backend):
        st.rerun()  # draws the status once more, without polling


def _handle_status(backend: TransformersBackend | LlamaCppBackend) -> None:
    handle = backend.handle
    if handle.state == "loading":
        st.progress(handle.status_fraction or 0.0, text=f":material/hourglass_top: {escape(handle.status_text)}…")
    elif handle.state == "failed":
        show_error(handle.error)
        st.button("Try again", on_click=_load_again, args=(handle,), key="retry_load")
    elif handle.state == "ready":
        st.caption(f":green[:material/check_circle: **Ready**] {escape(backend_list.ready_told(backend))}")
    elif isinstance(backend, TransformersBackend) and not catalog.is_cached(backend.spec):
        st.caption(":material/download: Downloaded with the first question")
    else:
        st.caption(":material/hourglass_empty: Not loaded: the next question loads it")
        _preload_once(backend)


def _preload_once(backend: TransformersBackend | LlamaCppBackend) -> None:
    """Once a session for each model, and not in the first drawing: torch would slow that down. Two tabs with two models
    that do not fit together must not push each other out for ever."""
    if st.session_state.get("painted") and backend.name not in st.session_state["preloaded"]:
        st.session_state["preloaded"] |= {backend.name}
        backend.handle.preload()


def _load_again(handle: ModelHandle | ServerHandle) -> None:
    handle.reset()
    handle.preload()


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
        escape(info.title if len(info.title) <= 34 else info.title[:33] + "…"),
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

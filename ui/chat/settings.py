"""The settings of the next answer."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.errors import LensError
from smolvlm_core.models import catalog
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.prompt.build import check_text
from smolvlm_core.prompt.generation import GenerationSettings
from ui import state
from ui.chat import presets
from ui.state import session, workspace
from ui.text import show_error

MAX_SEED = 2**31


def draw(precisions: tuple[str, ...]) -> tuple[GenerationSettings, str]:
    """Settings, and the precision of the weights. `precisions`: what the backend offers, empty for none."""
    with st.expander("Settings", icon=":material/tune:"):
        above = st.container()
        session().settings = _draw_controls(session().settings)
        session().precision = _precision(precisions, session().precision)
        presets.keep()  # at once: what the person does next ends this run
        with above:
            presets.draw()  # after the controls: which preset they are
        if state.is_admin():
            _draw_folder()
            _draw_features()
    return session().settings, session().precision


def _draw_controls(before: GenerationSettings) -> GenerationSettings:
    """Values that no control can show, from a file, are moved within its range."""
    longest = min(max(16, before.max_new_tokens // 16 * 16), 1024)
    max_new_tokens = st.slider("Longest answer (tokens)", 16, 1024, longest, step=16, key=_key("max_new_tokens"))
    temperature = st.slider(
        "Temperature",
        0.0,
        2.0,
        min(before.temperature, 2.0),
        step=0.1,
        key=_key("temperature"),
        help="At 0, the model always takes the likeliest token.",
    )
    greedy = temperature == 0
    only = "Has an effect only with a temperature above 0."
    top_p = st.slider(
        "Top-p", 0.05, 1.0, max(before.top_p, 0.05), step=0.05, key=_key("top_p"), disabled=greedy, help=only
    )
    seed = st.number_input(
        "Seed", 0, MAX_SEED, min(before.seed, MAX_SEED), key=_key("seed"), disabled=greedy, help=only
    )
    repetition = min(max(before.repetition_penalty, 1.0), 2.0)
    penalty = st.slider("Repetition penalty", 1.0, 2.0, repetition, step=0.05, key=_key("repetition_penalty"))
    system = st.text_area(
        "System prompt", before.system_prompt, key=_key("system_prompt"), placeholder="None", height=70
    )
    return GenerationSettings(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=penalty,
        seed=int(seed),
        system_prompt=_checked(system),
    )


def _key(name: str) -> str:
    """A preset fills the controls by new keys: new keys are new widgets."""
    return f"{name}_{number}" if (number := session().settings_round) else name


def _precision(offered: tuple[str, ...], before: str) -> str:
    options = list(offered) or [before]
    return st.selectbox(
        "Precision",
        options,
        options.index(before) if before in options else 0,
        key=_key("precision"),
        disabled=not offered,
        help="Of models run by transformers. float32 takes twice the memory.",
    )


def _draw_folder() -> None:
    st.text_input(
        "Checkpoint folder",
        key="folder",
        placeholder="/path/to/SmolVLM2-500M-Video-Instruct",
        on_change=state.for_admins(_add_folder),
        help="A folder with config.json, the tokenizer's files and .safetensors weights. It is added to the Model list.",
    )


def _draw_features() -> None:
    features = workspace().features
    st.button(
        "Clear cached pictures",
        key="clear_features",
        icon=":material/mop:",
        on_click=state.for_admins(features.clear),
        help="Each picture is encoded once. The result stays on this machine, up to 1 GiB, so that a question about the same "
        "picture is answered sooner. Clearing it does not delete conversations.",
    )
    st.caption(f"Encoded pictures: {describe_bytes(features.disk_bytes())} on disk")


def _checked(system_prompt: str) -> str:
    try:
        check_text(system_prompt)
    except LensError as error:
        show_error(f"{error} The system prompt is not used.")
        return ""
    return system_prompt


def _add_folder() -> None:
    try:
        spec = catalog.from_folder(Path(st.session_state["folder"]).expanduser())
        workspace().registry.add(CheckpointEntry.of(spec, added=True))
    except LensError as error:
        state.notify(error)
        return
    state.choose_model(spec.key)
    st.session_state["folder"] = ""

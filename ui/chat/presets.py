"""Named presets of the model and the settings, and what is kept for the next start."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.preferences import MAX_NAME_CHARACTERS, Preference
from smolvlm_core.prompt.generation import GenerationSettings
from ui import forms, state
from ui.state import session, workspace
from ui.text import escape, show_error

FORM = "preset"
CUSTOM, DEFAULT = "", "Default"


def in_use() -> Preference:
    """What is chosen now. A model that nobody chose is not kept: a better default may come."""
    current = session()
    return Preference(
        model=(current.model or "") if current.model_is_chosen else "",
        precision=current.precision,
        settings=current.settings,
    )


def keep() -> None:
    """Store what is chosen now for the next start, where it has changed."""
    now = in_use()
    if now == session().kept:
        return
    try:
        workspace().preferences.save_last(now)
        session().kept = now
    except LensError as error:
        show_error(f"Your settings are used, but not kept for the next start. {error}")


def draw() -> None:
    """The list of presets, and a menu to save or delete one."""
    presets, now = workspace().preferences.presets(), in_use()
    shown = DEFAULT if now.settings == GenerationSettings() else CUSTOM
    shown = next((name for name, preset in presets.items() if preset == now), shown)
    st.session_state["preset"] = shown
    names, menu = st.columns([4, 1], gap="small", vertical_alignment="bottom")
    names.selectbox(
        "Preset",
        [DEFAULT, *presets, *([CUSTOM] if shown == CUSTOM else [])],
        key="preset",
        format_func=lambda name: name or "Custom",
        on_change=_use,
        help="A model with its settings. Default resets the settings and keeps the model.",
    )
    opened = menu.popover(
        "", icon=":material/more_vert:", help="Save or delete a preset", key="presets_menu", on_change="rerun"
    )
    if opened.open:
        with opened:
            _menu(shown if shown in presets else "")


def _menu(chosen: str) -> None:
    st.text_input("Name", chosen, key="preset_name", max_chars=MAX_NAME_CHARACTERS, placeholder="Short answers")
    st.button("Save what is set now", key="preset_save", type="primary", on_click=_save)
    forms.draw_problems(FORM)
    if chosen:
        st.button(
            f"Delete {escape(chosen)}", key="preset_delete", icon=":material/delete:", on_click=_delete, args=(chosen,)
        )


def _use() -> None:
    name = st.session_state["preset"]
    if name == DEFAULT:
        apply(GenerationSettings())
    elif (preset := workspace().preferences.presets().get(name)) is not None:
        if preset.model:
            state.choose_model(preset.model)
        session().precision = preset.precision
        apply(preset.settings)


def apply(settings: GenerationSettings) -> None:
    """Set all, in the controls too."""
    session().settings = settings
    session().settings_round += 1


def _save() -> None:
    forms.pressed(FORM)
    try:
        workspace().preferences.save_preset(st.session_state["preset_name"], in_use())
    except LensError as error:
        forms.refuse(FORM, error)


def _delete(name: str) -> None:
    forms.pressed(FORM)
    try:
        workspace().preferences.delete_preset(name)
    except LensError as error:
        forms.refuse(FORM, error)

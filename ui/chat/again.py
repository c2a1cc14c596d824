"""Answering a question again, so that the answer can differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Message
from ui.chat.choice import Choice

TEMPERATURE = 0.7
ICON = ":material/refresh:"


def draw(choice: Choice, question: Message, versions: list[Message], restart: Callable[[Choice], None]) -> None:
    """`versions`: the answers so far. `restart` gets the choice with the settings of the next one."""
    seed = unused_seed(choice.settings, versions)
    key = f"again_{question.id}"
    if any(repeats(choice, version) for version in versions):
        # A key for each number of versions: the popover is closed once there is another answer.
        _draw_other_settings(f"others_{question.id}_{len(versions)}", choice, seed, restart)
        return
    greedy = choice.settings.temperature == 0
    others = replace(choice, settings=replace(choice.settings, seed=choice.settings.seed if greedy else seed))
    tip = None if greedy else f"Uses temperature {choice.settings.temperature:g} and seed {seed}."
    st.button("Answer again", icon=ICON, key=key, type="tertiary", help=tip, on_click=restart, args=(others,))


def repeats(choice: Choice, answer: Message) -> bool:
    """Whether the next answer would be the same: the same model takes the likeliest tokens again."""
    if answer.settings is None or answer.status != "complete" or answer.model != choice.backend.name:
        return False
    return choice.settings.temperature == 0 and replace(answer.settings, seed=choice.settings.seed) == choice.settings


def unused_seed(settings: GenerationSettings, versions: list[Message]) -> int:
    """The first seed, from the one in the settings on, that no version was sampled with."""
    used = {version.settings.seed for version in versions if version.settings and version.settings.temperature > 0}
    seed = settings.seed
    while seed in used:
        seed += 1
    return seed


def _draw_other_settings(key: str, choice: Choice, seed: int, restart: Callable[[Choice], None]) -> None:
    popover = st.popover("Answer again", icon=ICON, type="tertiary", key=key, on_change="rerun")
    if not popover.open:
        return

    def use() -> None:
        values = {"temperature": st.session_state[f"{key}_temperature"], "seed": int(st.session_state[f"{key}_seed"])}
        restart(replace(choice, settings=replace(choice.settings, **values)))

    with popover:
        st.caption("Temperature 0 gives the same answer. Try another one, for this answer only.")
        st.slider("Temperature", 0.1, 2.0, TEMPERATURE, step=0.1, key=f"{key}_temperature")
        st.number_input("Seed", 0, 2**31, seed, key=f"{key}_seed", help="Another seed gives another answer.")
        st.button("Answer with these", key=f"{key}_go", type="primary", icon=ICON, on_click=use)

"""How much of the model's context the next question takes, what takes it, and what can be dropped."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.conversations import context
from smolvlm_core.conversations.context import Cost, Part
from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment
from ui import state
from ui.chat.choice import Choice
from ui.state import workspace
from ui.text import escape

SHOWN = 40
LABEL_CHARACTERS = 60


def draw(kind: ConversationKind, choice: Choice, pending: tuple[Attachment, ...], *, drop_clips: bool = False) -> None:
    """One line near the box. `pending`: what goes with the next question. `drop_clips`: earlier frames will be hidden."""
    conversation = state.conversation(kind)
    if conversation is None and not pending:
        return
    store, spec = workspace().store, choice.backend.spec
    try:
        cost = context.of_next_question(
            store, spec, conversation, pending, choice.settings.system_prompt, drop_clips=drop_clips
        )
    except LensError:  # said where the question is asked
        return
    used, of = f"{cost.total_tokens:,}", f"{cost.context_tokens:,}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.progress(min(1.0, cost.total_tokens / max(1, cost.context_tokens)), width=96)
        label = f"Context: about {used} of {of} tokens"
        st.markdown(f":small[{f'**{label}**' if cost.is_nearly_full else label}]", width="content")
        # Another label would be another popover: it would close when something is hidden in it.
        popover = st.popover("What takes room", type="tertiary", key=f"gauge_{kind}", on_change="rerun")
    if cost.is_nearly_full:
        _warn(cost)
    if popover.open:
        with popover:
            _list(kind, context.parts(store, spec, conversation, pending, cost, drop_clips=drop_clips))


def _warn(cost: Cost) -> None:
    left = max(0, cost.context_tokens - cost.total_tokens)
    room = f"about {left:,} tokens are left for the answer" if cost.fits else "the next question does not fit"
    st.markdown(
        f":small[:material/warning: The context is nearly full: {room}. Drop what is not needed any more, or start a new conversation.]"
    )


def _list(kind: ConversationKind, parts: list[Part]) -> None:
    st.caption("What the next question would send to the model:")
    for number, part in enumerate(parts[-SHOWN:]):
        name, tokens, drop = st.columns([6, 2, 2], vertical_alignment="center")
        label = part.label if len(part.label) <= LABEL_CHARACTERS else part.label[: LABEL_CHARACTERS - 1] + "…"
        name.markdown(escape(label))
        tokens.markdown(f"{part.tokens:,}")
        if part.message_id is not None:
            drop.button(
                "Hide",
                icon=":material/visibility_off:",
                key=f"drop_{kind}_{number}_{part.message_id}_{part.sha256}",
                type="tertiary",
                help="Follow-up questions will not show this to the model.",
                on_click=_hide,
                args=(part.message_id, part.sha256),
            )
    if len(parts) > SHOWN:
        st.caption(f"{len(parts) - SHOWN} earlier ones are not listed.")
    st.button(
        "Start a new conversation",
        icon=":material/add:",
        key=f"gauge_new_{kind}",
        on_click=state.open_conversation,
        args=(kind, None),
    )


def _hide(message_id: int, sha256: str) -> None:
    try:
        workspace().store.set_shown(message_id, sha256, False)
    except LensError as error:
        state.notify(error)

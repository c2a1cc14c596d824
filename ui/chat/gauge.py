"""How much of the model's context the next question takes, what takes it, and what can be dropped."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from smolvlm_core.conversations import context
from smolvlm_core.conversations.context import Cost, Part
from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import Attachment
from ui import state
from ui.chat.choice import Choice
from ui.state import workspace
from ui.text import escape, show_error

SHOWN = 40
LABEL_CHARACTERS = 60
FEWER: dict[ConversationKind, str] = {"image": "Remove some pictures.", "video": "Use fewer frames."}


def draw(
    kind: ConversationKind,
    choice: Choice,
    pending: tuple[Attachment, ...],
    cost: Cost,
    draw_advice: Callable[[], object] = lambda: None,
    *,
    drop_clips: bool = False,
) -> None:
    """One line above the box. `pending`: what goes with the next question, of which this is the cost. `draw_advice`: what can be done
    about it. `drop_clips`: earlier frames will be hidden."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="cost"):
        st.progress(min(1.0, cost.total_tokens / max(1, cost.context_tokens)), width=64)
        st.caption(f"{cost.describe()}.", width="content")
        # Another label would be another popover: it would close when something is hidden in it.
        popover = st.popover(
            "Details",
            help="What takes room, and what can be dropped",
            type="tertiary",
            key=f"gauge_{kind}",
            on_change="rerun",
        )
        if cost.fits:
            draw_advice()
    if not cost.fits:
        show_error(f"This does not fit. {FEWER[kind]}")
        draw_advice()
    elif cost.is_nearly_full:
        _warn(cost)
    if popover.open:
        with popover:
            parts = context.parts(
                workspace().store, choice.backend.spec, state.conversation(kind), pending, cost, drop_clips=drop_clips
            )
            _list(kind, parts)


def _warn(cost: Cost) -> None:
    left = max(0, cost.context_tokens - cost.total_tokens)
    st.markdown(
        f":small[:material/warning: The context is nearly full: about {left:,} tokens are left for the answer. Drop what is not needed any more, or start a new conversation.]"
    )


def _list(kind: ConversationKind, parts: list[Part]) -> None:
    st.caption("What the next question would send to the model:")
    for number, part in enumerate(parts[-SHOWN:]):
        name, tokens, drop = st.columns([6, 2, 2], vertical_alignment="center")
        label = part.label if len(part.label) <= LABEL_CHARACTERS else part.label[: LABEL_CHARACTERS - 1] + "…"
        name.markdown(escape(label))
        tokens.markdown(f"{part.tokens:,}")
        if part.message_id is not None and kind == "image":  # the clip on the page goes with each question
            drop.button(
                "Hide",
                icon=":material/visibility_off:",
                key=f"drop_{kind}_{number}_{part.message_id}_{part.sha256}",
                type="tertiary",
                help="Follow-up questions will not show this to the model.",
                on_click=_hide,
                args=(part.message_id, part.sha256),
            )
    if kind == "video":
        st.caption("Choose fewer frames to make room.")
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

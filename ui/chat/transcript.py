"""The chat of a page: its turns, the answer that is being written, asking, editing, answering again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from smolvlm_core.conversations.answering import Answer, Snapshot
from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.markdown import safe_markdown
from smolvlm_core.prompt.branches import Branches
from smolvlm_core.prompt.messages import Attachment, Message, active_turns
from ui import address, state
from ui.chat import again, answer_bar, box, turn, unsent
from ui.chat.choice import Choice
from ui.state import session, workspace
from ui.text import message


def draw(kind: ConversationKind, choice: Choice) -> None:
    """All turns of the open conversation. Follows a running answer to its end."""
    conversation = state.conversation(kind)
    if conversation is None:
        return
    running = workspace().answers.running(
        conversation
    )  # before the messages: an answer that ends in between is then read whole
    branches = Branches(workspace().store.messages(conversation))
    for question, answer in active_turns(branches):
        with st.chat_message("user", avatar=":material/person:"):
            turn.draw_attachments(question)
            _question_text(question, kind, choice, editable=running is None)
            answer_bar.draw(conversation, question, branches.versions(question), locked=running is not None)
        if answer is not None and running is not None and running.id == answer.id:
            _follow(running)
        elif answer is not None:
            with st.chat_message("assistant", avatar=":material/visibility:"):
                restart = partial(_restart, kind, question.id) if running is None else None
                actions = partial(_actions, conversation, question, answer, branches.versions(answer), choice, restart)
                turn.draw_answer(question, answer, branches, actions)
        elif running is None and session().editing != question.id:
            st.button(
                "Answer",
                icon=again.ICON,
                key=f"again_{question.id}",
                type="tertiary",
                on_click=_restart,
                args=(kind, question.id, choice),
            )


def ask(
    kind: ConversationKind,
    choice: Choice,
    text: str,
    attachments: tuple[Attachment, ...],
    before_saving: Callable[[], None] = lambda: None,
) -> bool:
    """Store a question and start its answer. Where it is refused (False), nothing is stored and the text is shown again.

    A question that cannot be stored is offered again: see `unsent.draw`.
    """
    session().editing = None
    store = workspace().store
    try:
        workspace().answers.refuse_early(state.conversation(kind), text, choice.settings)
        before_saving()
        conversation = state.conversation(kind) or store.create(kind)
        question = store.add_question(conversation, text, attachments)
        session().open_conversations[kind] = conversation
        address.show(address.CONVERSATION, conversation)  # now: a reload must find the answer that begins
        _start(conversation, question, choice)
    except StoreError as error:
        unsent.keep(kind, text, attachments, error)
        return False
    except LensError as error:
        box.give_back(kind, text, error)
        return False
    return True


def _start(conversation: str, question: int, choice: Choice) -> None:
    answer = workspace().answers.start(choice.backend, conversation, question, choice.settings)
    workspace().checks.begin_on_first_use(choice.backend, answer.wait_until_complete)
    workspace().self_tests.begin_on_first_use(choice.entry, answer.wait_until_complete)


def _question_text(question: Message, kind: ConversationKind, choice: Choice, *, editable: bool) -> None:
    if editable and session().editing == question.id:
        _edit_box(question, kind, choice)
        return
    text, pencil = st.columns([12, 1], vertical_alignment="top") if editable else (st.container(), None)
    text.text(question.text)
    if pencil is not None:
        pencil.button(
            "",
            icon=":material/edit:",
            key=f"edit_{question.id}",
            type="tertiary",
            help="Edit this question",
            on_click=_set_editing,
            args=(question.id,),
        )


def _set_editing(question_id: int | None) -> None:
    session().editing = question_id


def _edit_box(question: Message, kind: ConversationKind, choice: Choice) -> None:
    with st.form(f"edit_form_{question.id}", border=False):
        text = st.text_area("Question", question.text, label_visibility="collapsed")
        send, leave = st.columns([1, 1])
        if send.form_submit_button("Ask again", type="primary", width="stretch") and text.strip():
            _ask_edited(question, text, kind, choice)
            st.rerun()
        if leave.form_submit_button("Cancel", width="stretch"):
            _set_editing(None)
            st.rerun()


def _ask_edited(question: Message, text: str, kind: ConversationKind, choice: Choice) -> None:
    try:
        workspace().answers.refuse_early(state.conversation(kind), text, choice.settings)
        edited = workspace().store.replace_question(question.id, text.strip())
        _set_editing(None)
        _start(str(state.conversation(kind)), edited, choice)
    except LensError as error:
        state.notify(error)


def _actions(
    conversation: str,
    question: Message,
    answer: Message,
    versions: list[Message],
    choice: Choice,
    restart: Callable[[Choice], None] | None,
) -> None:
    """Below an answer. `restart`: None while an answer of the conversation is written."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        answer_bar.draw(conversation, answer, versions, locked=restart is None)
        if restart is not None and session().editing != question.id:
            again.draw(choice, question, versions, restart)


def _restart(kind: ConversationKind, question_id: int, choice: Choice) -> None:
    try:
        _start(str(state.conversation(kind)), question_id, choice)
    except LensError as error:
        state.notify(error)


def _follow(answer: Answer) -> None:
    """Draw the answer as it grows. A rerun, a reload or another page only leaves it: the next run finds it again."""
    with st.chat_message("assistant", avatar=":material/visibility:"):
        text, sign = st.empty(), st.empty()
        st.button("Stop", icon=":material/stop_circle:", key=f"stop_{answer.id}", on_click=answer.stop)
    began = time.monotonic()
    for snapshot in answer.follow():
        _show(snapshot, text, sign, time.monotonic() - began)
    st.rerun()


def _show(snapshot: Snapshot, text: Any, sign: Any, seconds: float) -> None:
    if snapshot.text:
        text.markdown(safe_markdown(snapshot.text + ("" if snapshot.done else " ▍")))
        sign.empty()
    if snapshot.progress is not None:
        label = f"{message(snapshot.progress.text)}… {seconds:.0f} s"
        sign.progress(snapshot.progress.fraction or 0.0, text=label)

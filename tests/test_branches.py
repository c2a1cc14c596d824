"""Versions of questions and answers: each stays reachable with what follows it, whatever is edited, chosen or damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolvlm_core.conversations import context
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import DeletedError, LensError
from smolvlm_core.models import catalog
from smolvlm_core.prompt.branches import Branches
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message, active_turns, history_before

DATABASE = "conversations.sqlite3"


def answer(store: Store, question: int, text: str) -> int:
    identity = store.begin_answer(question, "model", GenerationSettings())
    store.save_answer(identity, text, "complete", stats=Stats("end"))
    return identity


def asked(store: Store, conversation: str, text: str, *attachments: Attachment) -> tuple[int, int]:
    question = store.add_question(conversation, text, attachments)
    return question, answer(store, question, f"{text}!")


def shown(store: Store, conversation: str) -> list[str]:
    turns = active_turns(store.messages(conversation))
    return [message.text for turn in turns for message in turn if message is not None]


def in_database(store: Store, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(store.folder / DATABASE)) as db, db:
        db.execute(statement, values)


def clip(name: str) -> Attachment:
    frames = (FrameRef(0.5, 5, name * 64),)
    return Attachment(kind="video", sha256=name * 64, name=name, mime="video/mp4", width=64, height=48, frames=frames)


def test_an_edited_first_question_is_a_new_branch_and_the_old_one_stays(store: Store) -> None:
    conversation = store.create("image")
    (a, _), (b, _) = asked(store, conversation, "A"), asked(store, conversation, "B")
    edited = store.replace_question(a, "A2")
    assert shown(store, conversation) == ["A2"]
    answer(store, edited, "A2!")
    asked(store, conversation, "C")
    assert shown(store, conversation) == ["A2", "A2!", "C", "C!"]
    messages = store.messages(conversation)
    assert [m.text for m in Branches(messages).versions(messages[0])] == ["A", "A2"]
    assert [m.text for m in history_before(messages, b)] == ["A", "A!", "B"], "of its own branch, chosen or not"
    store.choose(conversation, a)
    assert shown(Store(store.folder), conversation) == ["A", "A!", "B", "B!"], "after a restart too"
    store.choose(conversation, edited)
    assert shown(store, conversation) == ["A2", "A2!", "C", "C!"]


def test_each_answer_of_a_question_has_follow_ups_of_its_own(store: Store) -> None:
    conversation = store.create("image")
    a, first = asked(store, conversation, "A")
    asked(store, conversation, "B")
    second = answer(store, a, "other")
    assert shown(store, conversation) == ["A", "other"]
    asked(store, conversation, "C")
    store.choose(conversation, first)
    assert shown(store, conversation) == ["A", "A!", "B", "B!"]
    store.choose(conversation, second)
    assert shown(store, conversation) == ["A", "other", "C", "C!"]


def test_what_was_asked_before_there_was_an_answer_follows_each_answer(store: Store) -> None:
    conversation = store.create("image")
    a = store.add_question(conversation, "A")
    asked(store, conversation, "B")
    answer(store, a, "late")
    assert shown(store, conversation) == ["A", "late", "B", "B!"]
    answer(store, a, "later")
    assert shown(store, conversation) == ["A", "later", "B", "B!"]


def test_a_branch_is_not_changed_while_an_answer_is_written(store: Store) -> None:
    conversation = store.create("image")
    a, first = asked(store, conversation, "A")
    running = store.begin_answer(a, "model", GenerationSettings())
    with pytest.raises(LensError, match="being written"):
        store.choose(conversation, first)
    store.save_answer(running, "x", "complete")
    store.choose(conversation, first)
    assert shown(store, conversation) == ["A", "A!"]
    with pytest.raises(DeletedError):
        store.choose(store.create("image"), first)


def test_frames_are_hidden_by_later_ones_of_the_same_branch_only(store: Store) -> None:
    """The last clip of a branch is what the model sees, in its prompt and in the cost of the next question."""
    conversation = store.create("video")
    a, _ = asked(store, conversation, "A", clip("a"))
    b, _ = asked(store, conversation, "B", clip("b"))

    def visible(question: int) -> list[list[bool]]:
        history = history_before(store.messages(conversation), question)
        return [[x.shown for x in m.attachments] for m in history if m.role == "user"]

    assert visible(b) == [[False], [True]] and visible(a) == [[True]]
    assert [q.attachments[0].shown for q, _ in active_turns(store.messages(conversation))] == [False, True]
    before = context.of_next_question(store, catalog.bundled(), conversation, (), "").image_tokens
    edited = store.replace_question(a, "A2")
    assert visible(edited) == [[True]]
    assert context.of_next_question(store, catalog.bundled(), conversation, (), "").image_tokens == before
    store.set_shown(edited, "a" * 64, False)
    assert visible(edited) == [[False]] and visible(b) == [[False], [True]]
    store.set_shown(b, "b" * 64, False)
    assert visible(b) == [[False], [False]], "hiding the last clip does not bring back an earlier one"


def test_a_store_of_version_2_gets_its_branches(tmp_path: Path) -> None:
    """What was replaced becomes a version of what replaced it. In another tab, D was answered again after E was asked."""
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.executescript((Path(__file__).parent / "stores" / "version-2.sql").read_text("utf-8"))
        db.executescript("""
            DELETE FROM messages;
            INSERT INTO messages (id, conversation_id, role, text, attachments, reply_to, status, active, created)
            SELECT column1, (SELECT id FROM conversations), column2, column3, column4, column5, 'complete', column6, 1.0 FROM (VALUES
                (1, 'user', 'A', '[]', NULL, 0), (2, 'assistant', 'A1', '[]', 1, 0), (3, 'assistant', 'A2', '[]', 1, 0),
                (4, 'user', 'B', '[]', NULL, 1), (5, 'assistant', 'B1', '[]', 4, 0), (6, 'assistant', 'B2', '[]', 4, 1),
                (7, 'user', 'C', '[{"kind": "video", "shown": false}]', NULL, 0), (8, 'assistant', 'C1', '[]', 7, 0),
                (9, 'user', 'D', '[]', NULL, 1), (10, 'assistant', 'D1', '[]', 9, 0), (11, 'user', 'E', '[]', NULL, 1),
                (12, 'assistant', 'D2', '[]', 9, 1));
        """)
    store = Store(tmp_path)
    (info,) = store.conversations()
    assert shown(store, info.id) == ["B", "B2", "D", "D2", "E"]
    messages = {m.text: m for m in store.messages(info.id)}
    assert {text: m.parent for text, m in messages.items() if m.role == "user"} == dict(A=None, B=None, C=6, D=6, E=9)
    store.choose(info.id, messages["A"].id)
    assert shown(store, info.id) == ["A", "A2"]
    store.choose(info.id, messages["B"].id)
    store.choose(info.id, messages["C"].id)
    assert shown(store, info.id) == ["B", "B2", "C", "C1"]
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        assert db.execute("SELECT attachments FROM messages WHERE id = 7").fetchone() == (
            '[{"kind": "video", "shown": true}]',
        )


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE messages SET role = 'narrator' WHERE id = {id}",
        "UPDATE messages SET parent = 'x' WHERE id = {id}",
        "UPDATE messages SET parent = 99 WHERE id = {id}",
        "UPDATE messages SET parent = {id} WHERE id = {id}",
        "UPDATE messages SET reply_to = {id} WHERE id = {id}",
        "UPDATE messages SET active = 0 WHERE id = {id}",
        "DELETE FROM messages WHERE id = {id}",
    ],
)
@pytest.mark.parametrize("row", [1, 2, 3, 4])
def test_a_damaged_row_in_the_middle_hides_nothing_that_follows(store: Store, damage: str, row: int) -> None:
    conversation = store.create("image")
    for text in "ABC":
        asked(store, conversation, text)
    in_database(store, damage.format(id=row))
    assert shown(store, conversation)[-2:] == ["C", "C!"]
    asked(store, conversation, "D")
    assert shown(store, conversation)[-2:] == ["D", "D!"]
    missing = {"A", "A!", "B", "B!", "C", "C!"} - set(shown(store, conversation))
    assert len(missing) <= 2, "the damaged message, and the answer of a damaged question"


def message(number: int, is_question: bool, link: int | None, is_active: bool) -> Message:
    made = Message("user" if is_question else "assistant", str(number), id=number, active=is_active)
    return replace(made, parent=link) if is_question else replace(made, reply_to=link)


@given(st.lists(st.tuples(st.booleans(), st.none() | st.integers(-1, 12), st.booleans()), max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_links_give_a_finite_branch_in_order(rows: list[tuple[bool, int | None, bool]]) -> None:
    messages = [message(number, *row) for number, row in enumerate(rows, 1)]
    branches = Branches(messages)
    for turns in (branches.turns(), *(branches.turns_to(m.id) for m in messages if m.role == "user")):
        questions = [question.id for question, _ in turns]
        assert questions == sorted(set(questions))
        assert all(answer is None or answer.reply_to == question.id for question, answer in turns)
    for one in messages:
        if one.role == "user":
            assert branches.turns_to(one.id)[-1][0] is one

"""Versions of questions and answers: which belong together, and which branch of a conversation is chosen.

A question that is edited and an answer that is given again are stored beside the earlier ones. Each version has follow-ups of its
own. Knows the order of messages. Does not know what they say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Generic, Literal, Protocol, TypeVar


class Linked(Protocol):
    """What a message tells about its place. `reply_to`: of an answer, its question. `parent`: of a question, what it follows."""

    @property
    def id(self) -> int: ...
    @property
    def role(self) -> Literal["user", "assistant"]: ...
    @property
    def reply_to(self) -> int | None: ...
    @property
    def parent(self) -> int | None: ...
    @property
    def active(self) -> bool: ...


M = TypeVar("M", bound=Linked)


class Branches(Generic[M]):
    """The messages of one conversation, as a tree.

    A question follows an answer, or a question that had no answer when it was asked. Questions that follow the same message are
    versions of each other, as are answers to the same question. Of versions the active one is chosen; where marks are damaged,
    the newest active one, or else the newest.
    """

    def __init__(self, messages: Sequence[M]) -> None:
        self._by_id = {message.id: message for message in messages}
        self._answers: dict[int | None, list[M]] = defaultdict(list)
        self._following: dict[int | None, list[M]] = defaultdict(list)
        for message in sorted(messages, key=lambda message: message.id):
            if message.role == "assistant":
                self._answers[message.reply_to].append(message)
            else:
                self._following[message.parent].append(message)

    def turns(self) -> list[tuple[M, M | None]]:
        """The chosen branch: its questions in order, each with its chosen answer or None."""
        found: list[tuple[M, M | None]] = []
        question = _chosen(self._following[None])
        while question is not None:
            answer = _chosen(self._answers[question.id])
            found.append((question, answer))
            question = _chosen(self._after(question, answer))
        return found

    def turns_to(self, question_id: int) -> list[tuple[M, M | None]]:
        """The turns before a question in its branch, chosen or not, and then the question with its chosen answer."""
        question = self._by_id.get(question_id)
        answer = _chosen(self._answers[question_id])
        found: list[tuple[M, M | None]] = []
        while question is not None:
            found.append((question, answer))
            question, answer = self._before(question)
        return found[::-1]

    def versions(self, message: M) -> list[M]:
        """All versions of a question or an answer, itself included, the oldest first."""
        if message.role == "assistant":
            return self._answers[message.reply_to]
        question, answer = self._before(message)
        return self._after(question, answer) if question is not None else self._following[None]

    def last(self) -> M | None:
        """What the next question follows: the last answer of the chosen branch, or its last question."""
        turns = self.turns()
        return (turns[-1][1] or turns[-1][0]) if turns else None

    def _before(self, question: M) -> tuple[M | None, M | None]:
        """The turn that a question follows."""
        before = self._earlier(question.parent, question)
        if before is None or before.role == "user":
            return before, _chosen(self._answers[before.id]) if before is not None else None
        asked = self._earlier(before.reply_to, before)
        return (asked, before) if asked is not None and asked.role == "user" else (None, None)

    def _earlier(self, identity: int | None, message: M) -> M | None:
        """A message by its id; None where damaged links would lead round in circles."""
        found = self._by_id.get(identity) if identity is not None else None
        return found if found is not None and found.id < message.id else None

    def _after(self, question: M, answer: M | None) -> list[M]:
        """What follows a turn. What was asked before there was an answer follows each of its answers."""
        following = self._following[question.id] + (self._following[answer.id] if answer is not None else [])
        return sorted((m for m in following if m.id > question.id), key=lambda message: message.id)


def _chosen(versions: list[M]) -> M | None:
    active = [message for message in versions if message.active]
    return (active or versions)[-1] if versions else None

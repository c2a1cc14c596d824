"""The texts that a model is asked to read and to shorten, and what of its answers can be kept.

Knows a backend. Does not show frames: see `verify`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from smolvlm_core.backends.base import Backend
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Message
from smolvlm_core.timeline.summary import statements
from smolvlm_core.timeline.summary.asking import reply_of
from smolvlm_core.timeline.summary.plan import Count, Line
from smolvlm_core.timeline.summary.records import Statement

NOTES = "These are notes about the parts of a video, in order. Each note begins with its time."
PARTS = "These are statements about a video, in order."
HOW = "Use only what is written above. Write short sentences, one on each line, without times."


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Asks a model to answer a question from texts alone. `answer_tokens`: of each answer at most."""

    backend: Backend
    question: str
    answer_tokens: int
    cancel: threading.Event

    def answer(self, lines: Sequence[Line]) -> list[Statement] | None:
        """The answer from the texts of segments; None where it cannot be kept, since most of it is not in them.

        Raises:
            Stopped: the work was cancelled.
            LensError: the backend failed.
        """
        text = self._ask(notes_prompt(self.question, lines))
        written = [statements.statement_of(sentence, lines) for sentence in statements.sentences(text)]
        return written if statements.hold(written) else None

    def shorten(self, found: Sequence[Statement]) -> list[Statement] | None:
        """Fewer statements that say the same; None where that cannot be kept. Raises as `answer`."""
        text = self._ask(statements_prompt(self.question, found))
        written = [statements.reduced(sentence, found) for sentence in statements.sentences(text)]
        return written if statements.hold(written) and len(written) < len(found) else None

    def _ask(self, prompt: Prompt) -> str:
        settings = GenerationSettings(max_new_tokens=self.answer_tokens)
        return reply_of(self.backend, prompt, settings, self.cancel).text


def notes_prompt(question: str, lines: Sequence[Line]) -> Prompt:
    return _prompt(NOTES, [line.written for line in lines], question)


def statements_prompt(question: str, found: Sequence[Statement]) -> Prompt:
    return _prompt(PARTS, [f"- {statement.text}" for statement in found], question)


def frame_tokens(question: str, count: Count) -> int:
    """Of the prompt around the lines."""
    return max(count(notes_prompt(question, []).text), count(statements_prompt(question, []).text))


def _prompt(intro: str, written: Sequence[str], question: str) -> Prompt:
    text = "\n".join([intro, *written, "", question, HOW])
    return build_prompt([Message("user", text)], _no_pictures)


def _no_pictures(sha256: str) -> NoReturn:
    raise KeyError(sha256)

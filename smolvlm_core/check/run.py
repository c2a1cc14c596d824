"""Asks a backend about canaries until it is plain whether it sees. Knows backends by their contract only."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from smolvlm_core.backends.base import Backend, Delta, GenerationSettings, Stats
from smolvlm_core.chat import Attachment, Message
from smolvlm_core.check.canaries import Canary, blank, chosen, draw_canary
from smolvlm_core.check.statistics import MOST_QUESTIONS, chance_of_as_many, confidence, standing
from smolvlm_core.errors import LensError, NoVision
from smolvlm_core.prompt import build_prompt

Condition = Literal["its picture", "no picture", "a blank one", "another's"]
CONDITIONS: tuple[Condition, ...] = ("its picture", "no picture", "a blank one", "another's")
CONTROLLED = 4  # canaries that are also asked without their picture
ANSWER = GenerationSettings(max_new_tokens=24)
Report = Callable[[int, str], None]


@dataclass(frozen=True)
class Asked:
    """One question and what was answered. `right`: what the picture shown (or not shown) asks for, was named."""

    condition: Condition
    canary: Canary
    answer: str
    right: bool
    prompt_tokens: int


@dataclass
class Verdict:
    """`chance`: how often guessing does as well or better. `confidence`: of the verdict, 0 to 1."""

    verdict: Literal["sees", "degraded", "blind", "unchecked"]
    confidence: float = 0.0
    chance: float = 1.0
    asked: list[Asked] = field(default_factory=list)
    seconds: float = 0.0
    cause: str = ""
    mend: str = ""

    def accuracy(self, condition: Condition) -> tuple[int, int]:
        """(right, asked)."""
        mine = [a.right for a in self.asked if a.condition == condition]
        return sum(mine), len(mine)


def check(
    backend: Backend,
    report: Report | None = None,
    cancel: threading.Event | None = None,
    seed: int | None = None,
) -> Verdict:
    """Ask until it is plain. Never raises LensError: what kept it from being checked is the verdict's cause.

    `report` gets the number of questions asked and a line of what goes on.
    """
    return _Check(backend, report or (lambda done, text: None), cancel or threading.Event(), seed).run()


class _Check:
    def __init__(self, backend: Backend, report: Report, cancel: threading.Event, seed: int | None) -> None:
        self.backend, self.report, self.cancel = backend, report, cancel
        self.rng = random.Random(seed)
        self.found = Verdict("unchecked")

    def run(self) -> Verdict:
        began = time.perf_counter()
        try:
            self._ask_until_plain()
        except LensError as error:
            self._failed(error)
        self.found.seconds = time.perf_counter() - began
        return self.found

    def _ask_until_plain(self) -> None:
        outcomes: list[tuple[bool, int]] = []
        before: Canary | None = None
        while len(outcomes) < MOST_QUESTIONS and not self.cancel.is_set():
            canary = draw_canary(self.rng)
            outcomes.append((self._ask(canary, "its picture", canary.picture), len(canary.options)))
            if len(outcomes) <= CONTROLLED:
                self._ask(canary, "no picture", None)
                self._ask(canary, "a blank one", blank())
                if before is not None:
                    self._ask(canary, "another's", before.picture)
            before = canary
            if len(outcomes) > CONTROLLED and (said := standing(outcomes)) is not None:
                self._decide(outcomes, said)
                return
        if not self.cancel.is_set():
            right = sum(ok for ok, _ in outcomes)
            by_chance = chance_of_as_many(right, len(outcomes), outcomes[0][1]) > 0.001
            self._decide(outcomes, "blind" if by_chance else "degraded")

    def _ask(self, canary: Canary, condition: Condition, picture: Image.Image | None) -> bool:
        if self.cancel.is_set():
            return False
        self.report(len(self.found.asked), f"Question {len(self.found.asked) + 1}: {canary.question}")
        shown: dict[str, Image.Image] = {}
        attachments: tuple[Attachment, ...] = ()
        if picture is not None:
            key = hashlib.sha256(picture.tobytes()).hexdigest()
            shown[key] = picture
            attachments = (Attachment("image", key, "canary.png", "image/png", *picture.size),)
        prompt = build_prompt([Message("user", canary.question, attachments)], shown.__getitem__)
        answer, tokens = "", 0
        for event in self.backend.generate(prompt, ANSWER, self.cancel):
            if isinstance(event, Delta):
                answer += event.text
            elif isinstance(event, Stats):
                tokens = event.prompt_tokens
        if self.cancel.is_set():
            return False  # half an answer is none
        right = chosen(answer, canary.options) == canary.right
        self.found.asked.append(Asked(condition, canary, answer.strip(), right, tokens))
        return right

    def _decide(self, outcomes: list[tuple[bool, int]], said: Literal["sees", "degraded", "blind"]) -> None:
        found = self.found
        right = sum(ok for ok, _ in outcomes)
        found.verdict = said
        found.confidence = confidence(outcomes, said)
        found.chance = chance_of_as_many(right, len(outcomes), outcomes[0][1])
        if said == "blind" and self._pictures_cost_nothing():
            found.cause = "The picture is dropped on the way: the prompt is as long with it as without."
            found.mend = "Send it to the server directly, or update what stands between."

    def _pictures_cost_nothing(self) -> bool:
        """The same question takes as many tokens with a picture as without one."""
        lengths: dict[Condition, set[int]] = {}
        for asked in self.found.asked[:2]:  # of the first canary: with its picture, and without
            lengths.setdefault(asked.condition, set()).add(asked.prompt_tokens)
        return lengths.get("its picture") == lengths.get("no picture") != {0}

    def _failed(self, error: LensError) -> None:
        """A backend's own word that it has no vision answers the question; any other failure leaves it open."""
        if isinstance(error, NoVision):
            self.found.verdict, self.found.confidence = "blind", 1.0
        self.found.cause, self.found.mend = Exception.__str__(error), error.hint

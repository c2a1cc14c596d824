"""Asks a backend about newly drawn test images until the verdict is clear.

Knows backends by their contract only. Likely causes come from `diagnose`.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from PIL import Image

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.check.canaries import CLIP_FRAME_SECONDS, Canary, Subject, chosen, draw_canaries
from smolvlm_core.check.diagnose import cause_of_partial_sight, likely_cause
from smolvlm_core.check.statistics import Standing, chance_of_as_many, confidence, likelier_of_the_worse, standing
from smolvlm_core.errors import LensError, NoVision
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message

Condition = Literal["its picture", "no picture", "a blank picture", "a wrong picture"]
CONDITIONS: tuple[Condition, ...] = ("its picture", "no picture", "a blank picture", "a wrong picture")
# How many test images of each subject are also asked about without the right picture.
CONTROLLED: dict[Subject, int] = {"shapes": 4, "text": 2, "clips": 2}
# For each subject. Models that are undecided by then are counted in the error rates (computed exactly in tests/test_check.py).
MOST_QUESTIONS = 160
SUBJECT_NAMES: dict[Subject, str] = {
    "shapes": "pictures of shapes",
    "text": "digits and words",
    "clips": "what happens in clips",
}
ANSWER = GenerationSettings(max_new_tokens=48)
QuestionReport = Callable[[int, str], None]


@dataclass(frozen=True)
class Asked:
    """One question and its answer. `right`: the answer names what the test image shows, whether or not it was sent."""

    condition: Condition
    canary: Canary
    answer: str
    right: bool
    prompt_tokens: int


@dataclass(frozen=True)
class SubjectResult:
    """Of one subject. `chance`: the probability of doing as well or better by guessing. `confidence`: 0 to 1."""

    standing: Standing
    confidence: float
    chance: float


@dataclass
class Verdict:
    """Over all subjects: the verdict on shapes, or "degraded" where another subject is worse.

    `confidence` and `chance` belong to the subject that decided; where all are seen, to the least certain one. `metadata`:
    what the backend reports about itself. It is shown, and does not count.
    """

    verdict: Literal["sees", "degraded", "blind", "unchecked"]
    confidence: float = 0.0
    chance: float = 1.0
    asked: list[Asked] = field(default_factory=list)
    subjects: dict[Subject, SubjectResult] = field(default_factory=dict)
    seconds: float = 0.0
    cause: str = ""
    fix: str = ""
    metadata: dict[str, object] = field(default_factory=dict)

    def accuracy(self, condition: Condition, subject: Subject | None = None) -> tuple[int, int]:
        """(right, asked), for one subject or for all."""
        answers = [a.right for a in self.asked if a.condition == condition and subject in (None, a.canary.subject)]
        return sum(answers), len(answers)


def check(
    backend: Backend,
    report: QuestionReport | None = None,
    cancel: threading.Event | None = None,
    seed: int | None = None,
    subjects: Sequence[Subject] | None = None,
) -> Verdict:
    """Ask until the verdict is clear. Never raises LensError: what prevented the check is the verdict's cause.

    Args:
        report: gets the number of questions asked and a line about the current one.
        cancel: stops the check; the verdict is then "unchecked".
        seed: draws the same test images again; None draws new ones.
        subjects: to ask about. By default shapes, text for models that should read, and clips for backends that take them.
            Subjects other than shapes are asked only of a model that sees shapes.
    """
    return _Check(backend, report or (lambda done, text: None), cancel or threading.Event(), seed).run(subjects)


class _Check:
    def __init__(self, backend: Backend, report: QuestionReport, cancel: threading.Event, seed: int | None) -> None:
        self.given, self.report, self.cancel = backend, report, cancel
        self.backend = backend.without_self_report()
        self.rng = random.Random(seed)
        self.found = Verdict("unchecked")
        self.not_asked: LensError | None = None

    def run(self, subjects: Sequence[Subject] | None) -> Verdict:
        began = time.perf_counter()
        try:
            self.found.metadata = asdict(self.given.capabilities())
            self._ask_until_clear("shapes")
            if self._sees("shapes"):
                self._ask_about_the_others(subjects)
            if not self.cancel.is_set():
                self._decide()
        except LensError as error:
            self._failed(error)
        self.found.seconds = time.perf_counter() - began
        return self.found

    def _ask_about_the_others(self, subjects: Sequence[Subject] | None) -> None:
        """What prevents them is reported; it does not undo the result on shapes."""
        try:
            for subject in self._others() if subjects is None else subjects:
                if subject != "shapes" and not self.cancel.is_set():
                    self._ask_until_clear(subject)
        except LensError as error:
            self.not_asked = error

    def _sees(self, subject: Subject) -> bool:
        return subject in self.found.subjects and self.found.subjects[subject].standing == "sees"

    def _others(self) -> list[Subject]:
        out: list[Subject] = ["text"] if self.backend.reads_text else []
        return [*out, "clips"] if self.backend.capabilities().video else out

    def _ask_until_clear(self, subject: Subject) -> None:
        outcomes: list[tuple[bool, int]] = []
        for canary in self._canaries(subject):
            outcomes.append((self._ask(canary, "its picture", canary.pictures), len(canary.options)))
            if self.cancel.is_set():
                return
            if (verdict := standing(outcomes)) is not None:
                break
        chance = chance_of_as_many(sum(ok for ok, _ in outcomes), len(outcomes), outcomes[0][1])
        verdict = verdict or likelier_of_the_worse(outcomes)
        self.found.subjects[subject] = SubjectResult(verdict, confidence(outcomes, verdict), chance)

    def _canaries(self, subject: Subject) -> Iterator[Canary]:
        """The questions to ask with their pictures. In between, one about each of the first few is asked without them.

        The order lets caches help: a wrong picture is the one that was just shown, and the blank ones follow each other.
        """
        controlled: list[Canary] = []
        last: Canary | None = None
        for image in range(MOST_QUESTIONS // 2):
            first, second = draw_canaries(self.rng, subject)
            if last is not None and image < CONTROLLED[subject]:
                self._ask(first, "a wrong picture", last.pictures)
            yield first
            yield second
            controlled.append(first)
            if image + 1 == CONTROLLED[subject]:
                for canary in controlled:
                    self._ask(canary, "no picture", ())
                for canary in controlled:
                    self._ask(canary, "a blank picture", canary.blank())
            last = second

    def _ask(self, canary: Canary, condition: Condition, pictures: tuple[Image.Image, ...]) -> bool:
        if self.cancel.is_set():
            return False
        right, asked = self.found.accuracy("its picture")
        so_far = f", {right} of {asked} correct with the picture so far" if asked else ""
        self.report(len(self.found.asked), f"Question {len(self.found.asked) + 1}{so_far}.")
        shown = {hashlib.sha256(p.tobytes()).hexdigest(): p for p in pictures}
        attachments = _attached(canary, pictures) if pictures else ()
        prompt = build_prompt([Message("user", canary.question, attachments)], shown.__getitem__)
        reply = collect(self.backend.generate(prompt, ANSWER, self.cancel))
        if self.cancel.is_set():
            return False  # half an answer does not count
        answer, tokens = reply.text, reply.stats.prompt_tokens
        right = chosen(_after_thoughts(answer), canary.options) == canary.right
        self.found.asked.append(Asked(condition, canary, answer.strip(), right, tokens))
        return right

    def _decide(self) -> None:
        found = self.found
        worst: dict[Standing, int] = {"blind": 0, "degraded": 1, "sees": 2}
        if not self._sees("shapes"):
            decided = found.subjects["shapes"]
            found.verdict = decided.standing
        else:
            decided = min(found.subjects.values(), key=lambda f: (worst[f.standing], f.confidence))
            found.verdict = "sees" if decided.standing == "sees" else "degraded"
        found.confidence, found.chance = decided.confidence, decided.chance
        if not self._sees("shapes"):
            self._explain()
            return
        if unseen := [subject for subject, f in found.subjects.items() if f.standing != "sees"]:
            cause, found.fix = cause_of_partial_sight(self.backend, unseen)
            found.cause = f"It sees shapes, but not reliably {' and '.join(SUBJECT_NAMES[s] for s in unseen)}. {cause}"
        if self.not_asked is not None:
            found.verdict = "degraded"
            found.cause = f"{found.cause} The check is incomplete: {Exception.__str__(self.not_asked)}".strip()
            found.fix = found.fix or self.not_asked.hint

    def _explain(self) -> None:
        found = self.found
        shown = [a.answer for a in found.asked if a.condition == "its picture"]
        if sum(_says_nothing(answer) for answer in shown) > len(shown) / 2:
            found.verdict, found.confidence = "unchecked", 0.0
            found.cause = "Most of its answers are empty, or are thoughts that never end."
            found.fix = (
                "Turn its thinking off, or check its template. `python -m smolvlm_core check --json` shows the answers."
            )
        elif self._pictures_cost_nothing():
            found.cause = "The picture is dropped on the way: the prompt is as long with it as without it."
            found.fix = "Send it to the server directly, or update the software in between."
        else:
            found.cause, found.fix = likely_cause(self.backend, verdict=found.verdict)

    def _pictures_cost_nothing(self) -> bool:
        """The same question takes as many tokens with a picture as without one."""
        first = self.found.asked[0].canary
        tokens = {asked.condition: asked.prompt_tokens for asked in self.found.asked if asked.canary is first}
        return tokens.get("its picture") == tokens.get("no picture") != 0

    def _failed(self, error: LensError) -> None:
        """A backend that reports no vision is blind; any other failure leaves the question open."""
        if isinstance(error, NoVision):
            self.found.verdict, self.found.confidence = "blind", 1.0
        self.found.cause, self.found.fix = Exception.__str__(error), error.hint


def _after_thoughts(answer: str) -> str:
    """The answer of a model that thinks aloud: its thoughts name every option."""
    return answer.rpartition("</think>")[2]


def _says_nothing(answer: str) -> bool:
    return not _after_thoughts(answer).strip() or ("<think>" in answer and "</think>" not in answer)


def _attached(canary: Canary, pictures: tuple[Image.Image, ...]) -> tuple[Attachment, ...]:
    keys = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]
    width, height = pictures[0].size
    if canary.subject != "clips":
        return (
            Attachment(kind="image", sha256=keys[0], name="canary.png", mime="image/png", width=width, height=height),
        )
    frames = tuple(FrameRef(i * CLIP_FRAME_SECONDS, i, key) for i, key in enumerate(keys))
    seconds = len(keys) * CLIP_FRAME_SECONDS
    name, kind = "canary.mp4", "video/mp4"
    return (
        Attachment(
            kind="video",
            sha256=name,
            name=name,
            mime=kind,
            width=width,
            height=height,
            duration_seconds=seconds,
            frames=frames,
        ),
    )

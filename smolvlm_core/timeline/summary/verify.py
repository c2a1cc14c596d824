"""Whether the frames of a statement support it, when the model is shown them again.

Knows a backend and frames. Does not know where frames come from, nor timelines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from smolvlm_core.backends.base import Backend
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.geometry import estimate_tokens
from smolvlm_core.timeline.prompts import Shot, clip_prompt, picture_prompt
from smolvlm_core.timeline.summary import claims
from smolvlm_core.timeline.summary.asking import reply_of
from smolvlm_core.timeline.summary.claims import Claim
from smolvlm_core.timeline.summary.known import known_clips
from smolvlm_core.timeline.summary.records import AskedAs, Evidence, Statement, Verdict
from smolvlm_core.timeline.yes import read_yes

MOST_FRAMES = 8  # shown at once
ENOUGH = 10  # of the 12 known statements that a model must judge rightly
ANSWER_TOKENS = 16
TOP = 20
YES = 0.5

Asked = Callable[[], None]  # called after each question


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Asks a model about frames."""

    backend: Backend
    cancel: threading.Event
    on_asked: Asked = lambda: None

    def check(self, statement: Statement, shown: Sequence[Sequence[Shot]], asked_as: AskedAs) -> Statement:
        """The statement with its verdict. `shown`: the frames of each of its segments, by time.

        Raises:
            Stopped: the work was cancelled.
            LensError: the backend failed.
        """
        wanted = [claims.whole(statement.text)] if asked_as == "whole" else claims.parts(statement.text)
        shown = [shots for shots in shown if shots]
        if not shown:
            return _unclear(statement, "Its frames cannot be shown again.")
        if not asked_as or not wanted:
            why = (
                "It names nothing that can be asked about." if asked_as else "This model cannot be relied on for that."
            )
            return _unclear(statement, why)
        found: list[tuple[Evidence, bool | None]] = []
        for claim in wanted:
            found += self._claim(claim, shown, statement.joined)
        return replace(statement, verdict=_verdict([v for _, v in found]), evidence=tuple(e for e, _ in found))

    def _claim(self, claim: Claim, shown: Sequence[Sequence[Shot]], joined: bool) -> list[tuple[Evidence, bool | None]]:
        """What was asked, and whether each of it supports the claim. Of a joined statement it must hold in each segment."""
        if claim.kind == "whole":
            return [self._over(claim, [shot for shots in shown for shot in shots])]
        if claim.kind == "thing":
            spans = shown if joined else [[shot for shots in shown for shot in shots]]
            return [self._in_any(claim, shots) for shots in spans]
        answers = [self._over(claim, shots) for shots in shown]
        if joined:
            return answers
        return [next((a for a in answers if a[1]), answers[0])]

    def _in_any(self, claim: Claim, shots: Sequence[Shot]) -> tuple[Evidence, bool | None]:
        """Whether a thing is in any of the frames: the middle ones are looked at first, up to the first that has it."""
        best: Evidence | None = None
        for shot in sorted(_spread(shots, MOST_FRAMES), key=lambda s: abs(s.seconds - _middle(shots))):
            evidence = self._ask(claim, [shot], as_picture=True)
            if evidence.says_yes:
                return evidence, True
            if best is None or (evidence.p_yes or 0.0) > (best.p_yes or 0.0):
                best = evidence
        assert best is not None, "there is a frame"
        return best, best.says_yes

    def _over(self, claim: Claim, shots: Sequence[Shot]) -> tuple[Evidence, bool | None]:
        evidence = self._ask(claim, _spread(shots, MOST_FRAMES), as_picture=False)
        if claim.right in ("yes", "no"):
            said = evidence.says_yes
            return evidence, None if said is None else said == (claim.right == "yes")
        return evidence, claims.names(evidence.answer, claim.right)

    def _ask(self, claim: Claim, shots: Sequence[Shot], *, as_picture: bool) -> Evidence:
        prompt = _prompt(claim.question, shots, as_picture)
        while len(shots) > 1 and not self._fits(prompt):
            shots = _spread(shots, len(shots) - 1)
            prompt = _prompt(claim.question, shots, as_picture)
        top = TOP if self.backend.capabilities().logprobs else None
        settings = GenerationSettings(max_new_tokens=ANSWER_TOKENS, top_logprobs=top)
        reply = reply_of(self.backend, prompt, settings, self.cancel)
        self.on_asked()
        reading = read_yes(reply) if claim.right in ("yes", "no") else None
        p_yes = reading.probability if reading is not None else None
        return Evidence(
            question=claim.question,
            seconds=tuple(shot.seconds for shot in shots),
            answer=reply.text.strip(),
            p_yes=p_yes if top is not None else None,
            says_yes=None if p_yes is None else p_yes >= YES,
        )

    def _fits(self, prompt: Prompt) -> bool:
        spec = self.backend.spec
        return sum(estimate_tokens(prompt, spec.geometry)) + ANSWER_TOKENS <= spec.context_tokens


def reliability(judge: Judge) -> tuple[AskedAs, str]:
    """(how this model can be asked about statements, what that was found from): it judges known statements about drawn clips.

    Raises Stopped or LensError.
    """
    tried: list[str] = []
    for asked_as, words in (("whole", "as a whole"), ("parts", "by the things that they name and what these do")):
        right, total = _score(judge, asked_as)  # type: ignore[arg-type]
        if right >= ENOUGH:
            before = f" As a whole, it judged {tried[0]}." if tried else ""
            text = f"Asked {words}, this model judged {right} of {total} known statements about drawn clips rightly.{before}"
            return asked_as, text  # type: ignore[return-value]
        tried.append(f"{right} of {total}")
    text = (
        f"This model judged only {tried[0]} known statements about drawn clips rightly, and {tried[1]} by their parts."
    )
    return "", f"{text} It is not asked to verify statements."


def _score(judge: Judge, asked_as: AskedAs) -> tuple[int, int]:
    right = total = 0
    for clip in known_clips():
        shots = [Shot(float(number), frame) for number, frame in enumerate(clip.frames)]
        for text, verdict in ((clip.true, "supported"), *((false, "unsupported") for false in clip.false)):
            right += judge.check(Statement(text=text), [shots], asked_as).verdict == verdict
            total += 1
    return right, total


def _verdict(found: Sequence[bool | None]) -> Verdict:
    if any(supports is False for supports in found):
        return "unsupported"
    return "supported" if found and all(found) else "unclear"


def _unclear(statement: Statement, why: str) -> Statement:
    return replace(statement, verdict="unclear", notes=(*statement.notes, why))


def _spread(shots: Sequence[Shot], most: int) -> list[Shot]:
    """At most so many of them, from the first to the last."""
    if len(shots) <= most:
        return list(shots)
    if most == 1:
        return [shots[len(shots) // 2]]
    return [shots[round(i * (len(shots) - 1) / (most - 1))] for i in range(most)]


def _middle(shots: Sequence[Shot]) -> float:
    return (shots[0].seconds + shots[-1].seconds) / 2


def _prompt(question: str, shots: Sequence[Shot], as_picture: bool) -> Prompt:
    return picture_prompt(shots[0], question) if as_picture else clip_prompt(shots, shots[-1].seconds + 1.0, question)

"""When enough was asked, and what the answers show. Pure.

A sequential test of three hypotheses on the rate of right answers: by chance (one in as many as there are options), DEGRADED,
and SEES. One is accepted once the answers are likelier under it than under each of the others: 1 / ERROR times likelier than by
chance, MARGIN times likelier than the other two. If a hypothesis is true, each other one is then accepted with a probability of at
most ERROR. For a model that answers by chance this is Wald's inequality, as in Armitage's sequential test of several hypotheses
(J. R. Statist. Soc. B 12, 1950): its answers are independent. A model that sees in part may miss both questions about an image, so
the other two need more: MARGIN keeps their error up to a correlation of CORRELATION between the two answers (computed exactly in
tests/test_check.py). A model between DEGRADED and SEES may get either verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Standing = Literal["sees", "degraded", "blind"]
ERROR = 0.001
MARGIN = 17_000
CORRELATION = 0.4
DEGRADED, SEES = 0.55, 0.95


def standing(outcomes: Sequence[tuple[bool, int]]) -> Standing | None:
    """The verdict on (right, number of options) of each question; None: ask more."""
    likelihoods = _log_likelihoods(outcomes)
    best = max(likelihoods, key=lambda name: likelihoods[name])
    enough = {"blind": 1 / ERROR, "degraded": MARGIN, "sees": MARGIN}
    ahead = (likelihoods[best] - likelihoods[name] >= math.log(enough[name]) for name in likelihoods if name != best)
    return best if all(ahead) else None


def likelier_of_the_worse(outcomes: Sequence[tuple[bool, int]]) -> Standing:
    """Blind or degraded, where nothing was accepted within the limit of questions. "sees" must be accepted."""
    likelihoods = _log_likelihoods(outcomes)
    return "blind" if likelihoods["blind"] > likelihoods["degraded"] else "degraded"


def confidence(outcomes: Sequence[tuple[bool, int]], of: Standing) -> float:
    """The posterior probability of one hypothesis, 0 to 1, with equal priors."""
    likelihoods = _log_likelihoods(outcomes)
    top = max(likelihoods.values())
    return math.exp(likelihoods[of] - top) / sum(math.exp(value - top) for value in likelihoods.values())


def chance_of_as_many(right: int, asked: int, options: int) -> float:
    """The exact binomial probability of at least `right` of `asked` by guessing among `options`."""
    p = 1 / options
    return math.fsum(math.comb(asked, n) * p**n * (1 - p) ** (asked - n) for n in range(right, asked + 1))


def one_in(probability: float) -> str:
    """A probability as people say it: "1 in 67 million"."""
    count = 1 / probability
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"1 in {count / size:,.0f} {name}"
    return f"1 in {count:,.0f}"


def _log_likelihoods(outcomes: Sequence[tuple[bool, int]]) -> dict[Standing, float]:
    def of(rate: float | None) -> float:
        rates = [rate if rate is not None else 1 / options for _, options in outcomes]
        return sum(math.log(p if right else 1 - p) for (right, _), p in zip(outcomes, rates))

    return {"sees": of(SEES), "degraded": of(DEGRADED), "blind": of(None)}

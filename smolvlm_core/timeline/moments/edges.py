"""Where answers over time change. Pure functions on lists; single wrong answers change nothing. Does not know clips or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

HIGH, LOW = 0.6, 0.4  # a change from no to yes needs more than HIGH, one from yes to no less than LOW


@dataclass(frozen=True)
class Edge:
    """The answer changes from `old` to `new`, after the sample `before` and at the latest at the sample `after` (indices)."""

    before: int
    after: int
    old: str
    new: str


def yes_edges(probabilities: Sequence[float | None]) -> list[Edge]:
    """Where *yes* begins and ends. None, an unclear answer, is left out. A single sample that differs from both neighbours counts as
    an error of the model."""
    known = [i for i, p in enumerate(probabilities) if p is not None]
    values = _smooth([float(probabilities[i] or 0.0) for i in known])
    edges: list[Edge] = []
    state: bool | None = None
    last = 0  # the last sample that fits the state
    for at, value in enumerate(values):
        if state is None:
            state = value >= 0.5
        elif (value > HIGH and not state) or (value < LOW and state):
            edges.append(Edge(known[last], known[at], _name(state), _name(not state)))
            state = not state
        if (value >= 0.5) == state:
            last = at
    return edges


def word_edges(words: Sequence[str]) -> list[Edge]:
    """Where the word changes. "" (unclear) is left out, and so is a word that comes only once in a row."""
    known = [i for i, word in enumerate(words) if word]
    runs: list[list[int]] = []
    for i in known:
        if runs and words[runs[-1][-1]] == words[i]:
            runs[-1].append(i)
        else:
            runs.append([i])
    steady = [run for run in runs if len(run) > 1]
    return [
        Edge(before[-1], after[0], words[before[0]], words[after[0]])
        for before, after in pairwise(steady)
        if words[before[0]] != words[after[0]]
    ]


def _smooth(values: Sequence[float]) -> list[float]:
    """The median of each value and its neighbours."""
    if len(values) < 3:
        return list(values)
    inner = [median(values[i - 1 : i + 2]) for i in range(1, len(values) - 1)]
    return [values[0] if abs(values[0] - values[1]) < 0.5 else values[1], *inner, _end(values)]


def _end(values: Sequence[float]) -> float:
    """The last sample has one neighbour: it counts where they agree."""
    return values[-1] if abs(values[-1] - values[-2]) < 0.5 else values[-2]


def _name(state: bool) -> str:
    return "yes" if state else "no"

"""Log probabilities of the tokens of one place. Pure: does not know models."""

from __future__ import annotations

import numpy as np

Likely = tuple[int, float]


def logprobs_of(logits: np.ndarray, token: int, count: int) -> tuple[float, tuple[Likely, ...]]:
    """(the natural log probability of `token`, the `count` likeliest tokens with theirs, likeliest first).

    `logits`: (vocabulary) floats.
    """
    values = logits.astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    likeliest = np.argsort(values)[::-1][:count]
    return float(values[token]), tuple((int(t), float(values[t])) for t in likeliest)

"""The next token from logits, by the rules of transformers' processors in transformers' order. Pure but for its noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smolvlm_core.prompt.generation import GenerationSettings


class Sampler:
    """One answer's sampler. The same seed draws the same tokens here; transformers draws others.

    Follows RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper and TopPLogitsWarper of transformers 5.23.0. Gumbel noise
    makes the largest value an exact sample.
    """

    def __init__(self, seen: Sequence[int], settings: GenerationSettings) -> None:
        self._seen = set(seen)
        self._temperature, self._top_p = settings.temperature, settings.top_p
        self._penalty = settings.repetition_penalty
        self._noise = np.random.default_rng(settings.seed)

    def pick(self, logits: np.ndarray) -> int:
        """`logits`: (vocabulary) float32."""
        if self._penalty != 1:
            logits = self._penalized(logits)
        if self._temperature > 0:
            logits = top_p(logits / self._temperature, self._top_p)
            logits = logits - np.log(self._noise.exponential(size=logits.shape))
        token = int(logits.argmax())
        self._seen.add(token)
        return token

    def _penalized(self, logits: np.ndarray) -> np.ndarray:
        out = logits.copy()
        seen = np.fromiter(self._seen, np.int64)
        out[seen] = np.where(out[seen] < 0, out[seen] * self._penalty, out[seen] / self._penalty)
        return out


def top_p(logits: np.ndarray, share: float) -> np.ndarray:
    """Keep the likeliest tokens that together reach `share` of the probability; at least one. The others become -inf."""
    if share >= 1:
        return logits
    order = np.argsort(logits)
    exponentials = np.exp(logits[order] - logits[order[-1]])
    unlikely = np.cumsum(exponentials / exponentials.sum()) <= 1 - share
    unlikely[-1] = False
    out = logits.copy()
    out[order[unlikely]] = -np.inf
    return out

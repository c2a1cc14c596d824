"""Why a backend may not see: what can be read beside it, and the fix as a command to copy.

Read only after the questions have shown that it does not see. A cause is likely, never proved: metadata can be right where a
model is blind and wrong where it sees. Each backend finds its own causes (`Backend.diagnose`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from smolvlm_core.backends.base import Backend, Cause
from smolvlm_core.errors import LensError

UNKNOWN = Cause(
    "No cause was found in its files or settings.",
    "Compare with the checkpoint itself: `python -m smolvlm_core check --backend CHECKPOINT`. "
    "Then `python -m smolvlm_core serve --engine llama.cpp --model CHECKPOINT`.",
)


def cause_of_partial_sight(backend: Backend, unseen: Sequence[str]) -> Cause:
    """For a backend that sees shapes, but not clips or not text: the deployment is complete."""
    own = next(iter(backend.diagnose("degraded", tuple(unseen))), None)
    return own or Cause("This model may not be good at it.", "Try a larger model, or more frames, or fewer.")


def likely_cause(backend: Backend, *, verdict: str) -> Cause:
    """For a backend that does not see. The likeliest cause first; the others are named after it."""
    causes: list[Cause] = []
    with contextlib.suppress(LensError):  # the causes found before the error stay
        for cause in backend.diagnose(verdict):
            causes.append(cause)
    if not causes:
        return UNKNOWN
    others = "".join(f" Also: {other.cause}" for other in causes[1:])
    return Cause(f"Likely: {causes[0].cause}{others}", causes[0].fix)

"""Does a backend see? Questions with known answers, drawn anew each time, and a verdict with a stated error rate."""

from smolvlm_core.check.run import Asked, Verdict, check

__all__ = ["Asked", "Verdict", "check"]
